//! Compiles the CUDA kernels to PTX when the feature `cuda` is on.
//!
//! With the toolkit's compiler, not at run time: a mistake in a kernel then shows where there is no GPU, and
//! programs need no compiler where they run. PTX for the oldest GPU that CUDA 13 knows runs on all later ones;
//! the driver translates it once and keeps the result.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/cuda");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        compile_kernels();
    }
}

fn compile_kernels() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("kernels.ptx");
    let in_toolkit = |home| PathBuf::from(home).join("bin/nvcc");
    let nvcc = std::env::var_os("CUDA_HOME").map(in_toolkit).filter(|path| path.exists());
    let mut command = Command::new(nvcc.unwrap_or_else(|| "nvcc".into()));
    command.args(["-ptx", "-arch=compute_75", "-std=c++17", "-O3", "-o"]).arg(out).arg("src/cuda/kernels.cu");
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{command:?} failed: {status}"),
        Err(error) => panic!(
            "the feature `cuda` needs a CUDA toolkit (kernels/cuda/toolkit.sh makes one): {command:?}: {error}"
        ),
    }
}
