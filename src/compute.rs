//! The training compute of a search, in multiply-adds: what no noise of a machine touches.

use crate::config::Recipe;
use crate::data::Dataset;
use crate::executor::{Job, Start};
use crate::individual::Edit;

/// Forward passes that a training step counts as: one, and the gradients of what layers read and of their weights.
const STEP: f64 = 3.0;

/// Images that networks are run on in a search.
#[derive(Debug, Clone, Copy)]
pub struct Images {
    training: usize,
    validation: usize,
    calibration: usize,
}

impl Images {
    /// Those of a data set.
    pub fn of(data: &Dataset, recipe: &Recipe) -> Self {
        Self {
            training: data.train.len(),
            validation: data.validation.len(),
            calibration: if recipe.calibrate { data.calibration_images().count() } else { 0 },
        }
    }

    /// What these jobs of a generation cost at most, if as many as may are trained to the end, and the dearest of those that compete.
    pub fn most(&self, jobs: &[&Job]) -> f64 {
        let (competing, others): (Vec<&&Job>, Vec<&&Job>) =
            jobs.iter().partition(|job| job.course.halving.is_some());
        let whole: f64 = others.iter().map(|job| self.compute(job, job.plan.epochs)).sum();
        let rungs = competing.iter().map(|job| job.course.rungs.len()).max().unwrap_or(0);
        let (mut most, mut left) = (whole, competing.len());
        for rung in 0..rungs {
            let step = |job: &&&Job| {
                let end = job.course.rungs.get(rung)?;
                let begun = rung.checked_sub(1).map_or(0.0, |last| self.compute(job, job.course.rungs[last]));
                Some(self.compute(job, *end) - begun)
            };
            let mut steps: Vec<f64> = competing.iter().filter_map(step).collect();
            steps.sort_by(|a, b| b.total_cmp(a));
            most += steps.iter().take(left.max(1)).sum::<f64>();
            left /= competing.first().and_then(|job| job.course.halving).unwrap_or(2);
        }
        most
    }

    /// What a job costs that ends after so many epochs, its evaluation included: training, the teacher's forward passes, a pass of the
    /// child over the calibration batch for each edit and one more if the function changed, and validation before, after, and as
    /// often on the way as it was read.
    pub fn compute(&self, job: &Job, epochs: usize) -> f64 {
        let macs = job.architecture.macs() as f64;
        let training = STEP * macs * (self.training * epochs) as f64;
        let pass = macs * self.validation as f64;
        let on_the_way = job.course.rungs.iter().filter(|&&rung| rung < epochs).count();
        let validation = pass * (1 + on_the_way) as f64;
        let inherited = match &job.start {
            Start::Scratch { .. } | Start::Given { .. } => 0.0,
            Start::Inherit { architecture, edits, .. } => {
                let taught = job.plan.distill_epochs.min(epochs) * self.training;
                let recalibrated = usize::from(!edits.iter().all(Edit::is_exact));
                let calibrated = (edits.len() + recalibrated) * self.calibration;
                pass + architecture.macs() as f64 * taught as f64 + macs * calibrated as f64
            }
        };
        training + validation + inherited
    }
}
