//! GELU as it is written where there is no operator for it: `0.5 x (1 + erf(x / sqrt 2))`.

use super::view::View;
use super::{Activation, Importer, Reason, Value};
use crate::activation::Activation as Function;
use crate::layer::Layer;

/// How much of the formula is there, for x the output of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// `erf(x / sqrt 2)`
    Erf,
    /// `1 + erf(x / sqrt 2)`
    Gate,
    /// `x (1 + erf(x / sqrt 2))`
    Twice,
}

impl Importer<'_> {
    /// What a node yields that is a step on the way to GELU.
    pub fn gelu(&mut self, operator: &str, inputs: &[Option<Value>]) -> Result<Option<Value>, Reason> {
        let step = |x: &Activation, step| {
            Ok(Some(Value::Activation(Activation { view: View::Gelu(step), ..x.clone() })))
        };
        let is =
            |value: Option<f64>, expected: f64| value.is_some_and(|value| (value - expected).abs() < 1e-6);
        if let ("Erf", [Some(Value::Activation(scaled))]) = (operator, inputs) {
            return match self.scaled(scaled) {
                Some((x, factor)) if is(Some(factor), std::f64::consts::FRAC_1_SQRT_2) => step(&x, Step::Erf),
                _ => Err("taken as a part of GELU only, on x / sqrt 2".into()),
            };
        }
        if let Some((x, _, constant)) = Self::one_of_two(inputs) {
            return match (operator, x.view) {
                ("Add", View::Gelu(Step::Erf)) if is(constant.as_scalar(), 1.0) => step(x, Step::Gate),
                ("Mul", View::Gelu(Step::Twice)) if is(constant.as_scalar(), 0.5) => self.finished(x),
                ("Div", View::Gelu(Step::Twice)) if is(constant.as_scalar(), 2.0) => self.finished(x),
                _ => Ok(None),
            };
        }
        let ("Mul", [Some(Value::Activation(a)), Some(Value::Activation(b))]) = (operator, inputs) else {
            return Ok(None);
        };
        for (x, gate) in [(a, b), (b, a)] {
            if gate.view != View::Gelu(Step::Gate) || x.view != View::Plain {
                continue;
            }
            if x.layer == gate.layer {
                return step(gate, Step::Twice);
            }
            if self.scaled(x).is_some_and(|(x, factor)| x.layer == gate.layer && is(Some(factor), 0.5)) {
                return self.finished(gate);
            }
        }
        Ok(None)
    }

    fn finished(&mut self, x: &Activation) -> Result<Option<Value>, Reason> {
        self.made(|it| it.push(Layer::Activation(Function::Gelu), &[x.layer])).map(Some)
    }

    /// The tensor that `x` is a multiple of, and the factor.
    fn scaled(&self, x: &Activation) -> Option<(Activation, f64)> {
        match self.draft.get(x.layer)? {
            (Layer::Scale { factor }, &[layer]) if x.view == View::Plain => {
                Some((Activation { layer, ..x.clone() }, factor))
            }
            _ => None,
        }
    }
}
