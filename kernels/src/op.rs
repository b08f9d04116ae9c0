//! What an operation is, written once for candle's back-propagation and for the [tape](crate::Tape).
//!
//! [`Compute`] maps contiguous tensors to one tensor, per device. [`Op`] adds the gradients. The blanket
//! implementations of [`Run`] and [`Track`] are all that knows of candle's `CustomOp1`, `2` and `3`.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

/// A storage with its layout, as candle hands it to a custom op.
pub type Argument<'a, S> = (&'a S, &'a Layout);

/// A function of `N` contiguous tensors, without a gradient.
pub trait Compute<const N: usize>: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    fn cpu(&self, arguments: [Argument<CpuStorage>; N]) -> Result<(CpuStorage, Shape)>;

    fn cuda(&self, _: [Argument<CudaStorage>; N]) -> Result<(CudaStorage, Shape)> {
        Err(candle_core::Error::Cuda(format!("no CUDA implementation of {}", self.name()).into()))
    }
}

/// A function of `N` contiguous tensors with gradients.
pub trait Op<const N: usize>: Compute<N> {
    /// Those of the `wanted` gradients that are not zero everywhere; `dy` is contiguous.
    fn gradients(
        &self,
        inputs: [&Tensor; N],
        output: &Tensor,
        dy: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]>;
}

/// Runs a [`Compute`] without leaving a trace for back-propagation.
pub trait Run<const N: usize>: Compute<N> {
    fn run(&self, inputs: [&Tensor; N]) -> Result<Tensor>;
}

/// Runs an [`Op`] so that candle's back-propagation finds its gradients.
pub trait Track<const N: usize>: Op<N> + Run<N> + Sized {
    fn track(self, inputs: [&Tensor; N]) -> Result<Tensor>;
}

impl<C: Compute<1>> Run<1> for C {
    fn run(&self, [a]: [&Tensor; 1]) -> Result<Tensor> {
        a.apply_op1_no_bwd(&Untracked(self))
    }
}

impl<C: Compute<2>> Run<2> for C {
    fn run(&self, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
        a.apply_op2_no_bwd(b, &Untracked(self))
    }
}

impl<C: Compute<3>> Run<3> for C {
    fn run(&self, [a, b, c]: [&Tensor; 3]) -> Result<Tensor> {
        a.apply_op3_no_bwd(b, c, &Untracked(self))
    }
}

impl<O: Op<1>> Track<1> for O {
    fn track(self, [a]: [&Tensor; 1]) -> Result<Tensor> {
        a.apply_op1(Tracked(self))
    }
}

impl<O: Op<2>> Track<2> for O {
    fn track(self, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
        a.apply_op2(b, Tracked(self))
    }
}

impl<O: Op<3>> Track<3> for O {
    fn track(self, [a, b, c]: [&Tensor; 3]) -> Result<Tensor> {
        a.apply_op3(b, c, Tracked(self))
    }
}

struct Untracked<'a, C>(&'a C);

struct Tracked<O>(O);

type Cpu = CpuStorage;
type Cuda = CudaStorage;

impl<C: Compute<1>> CustomOp1 for Untracked<'_, C> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, a: &Cpu, la: &Layout) -> Result<(Cpu, Shape)> {
        self.0.cpu([(a, la)])
    }

    fn cuda_fwd(&self, a: &Cuda, la: &Layout) -> Result<(Cuda, Shape)> {
        self.0.cuda([(a, la)])
    }
}

impl<C: Compute<2>> CustomOp2 for Untracked<'_, C> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, a: &Cpu, la: &Layout, b: &Cpu, lb: &Layout) -> Result<(Cpu, Shape)> {
        self.0.cpu([(a, la), (b, lb)])
    }

    fn cuda_fwd(&self, a: &Cuda, la: &Layout, b: &Cuda, lb: &Layout) -> Result<(Cuda, Shape)> {
        self.0.cuda([(a, la), (b, lb)])
    }
}

impl<C: Compute<3>> CustomOp3 for Untracked<'_, C> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    #[rustfmt::skip]
    fn cpu_fwd(&self, a: &Cpu, la: &Layout, b: &Cpu, lb: &Layout, c: &Cpu, lc: &Layout) -> Result<(Cpu, Shape)> {
        self.0.cpu([(a, la), (b, lb), (c, lc)])
    }

    #[rustfmt::skip]
    fn cuda_fwd(&self, a: &Cuda, la: &Layout, b: &Cuda, lb: &Layout, c: &Cuda, lc: &Layout) -> Result<(Cuda, Shape)> {
        self.0.cuda([(a, la), (b, lb), (c, lc)])
    }
}

impl<O: Op<1>> CustomOp1 for Tracked<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, a: &Cpu, la: &Layout) -> Result<(Cpu, Shape)> {
        self.0.cpu([(a, la)])
    }

    fn cuda_fwd(&self, a: &Cuda, la: &Layout) -> Result<(Cuda, Shape)> {
        self.0.cuda([(a, la)])
    }

    fn bwd(&self, a: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let [a] = self.0.gradients([a], y, &dy.contiguous()?, [a.track_op()])?;
        Ok(a)
    }
}

impl<O: Op<2>> CustomOp2 for Tracked<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, a: &Cpu, la: &Layout, b: &Cpu, lb: &Layout) -> Result<(Cpu, Shape)> {
        self.0.cpu([(a, la), (b, lb)])
    }

    fn cuda_fwd(&self, a: &Cuda, la: &Layout, b: &Cuda, lb: &Layout) -> Result<(Cuda, Shape)> {
        self.0.cuda([(a, la), (b, lb)])
    }

    #[rustfmt::skip]
    fn bwd(&self, a: &Tensor, b: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let wanted = [a.track_op(), b.track_op()];
        let [a, b] = self.0.gradients([a, b], y, &dy.contiguous()?, wanted)?;
        Ok((a, b))
    }
}

impl<O: Op<3>> CustomOp3 for Tracked<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    #[rustfmt::skip]
    fn cpu_fwd(&self, a: &Cpu, la: &Layout, b: &Cpu, lb: &Layout, c: &Cpu, lc: &Layout) -> Result<(Cpu, Shape)> {
        self.0.cpu([(a, la), (b, lb), (c, lc)])
    }

    #[rustfmt::skip]
    fn cuda_fwd(&self, a: &Cuda, la: &Layout, b: &Cuda, lb: &Layout, c: &Cuda, lc: &Layout) -> Result<(Cuda, Shape)> {
        self.0.cuda([(a, la), (b, lb), (c, lc)])
    }

    #[rustfmt::skip]
    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let wanted = [a.track_op(), b.track_op(), c.track_op()];
        let [a, b, c] = self.0.gradients([a, b, c], y, &dy.contiguous()?, wanted)?;
        Ok((a, b, c))
    }
}
