#!/usr/bin/env bash
# Makes a CUDA toolkit folder from NVIDIA's packages on PyPI, enough to build the feature `cuda` on a machine
# without a GPU, without root and without NVIDIA's installer. Needs python3 with pip, and cc. About 4 GB of disk.
#
#     eval "$(kernels/cuda/toolkit.sh ~/cuda-13.0)"
#     cargo build --release --features cuda
#
# Prints the variables to export. A folder that is complete is used again. Wheels that are already downloaded
# are taken from the folder $CUDA_WHEELS.
#
# The packages are those of CUDA 13.0, not the newest: kernels travel as PTX, and a driver refuses PTX that is
# newer than itself. What is built with 13.0 runs on every driver from 580 on.
set -euo pipefail

PACKAGES=(
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-cccl==13.0.85
    nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35 nvidia-cudnn-cu13==9.28.1.4
)

if [ $# -ne 1 ]; then
    echo "usage: $0 FOLDER" >&2
    exit 2
fi
mkdir -p "$1"
toolkit=$(cd "$1" && pwd)

# The driver's library belongs to the driver and is in no package. This one has its functions' names, for the
# linker, and they answer CUDA_ERROR_NO_DEVICE (100), so that programs run and find that there is no device.
stub_driver() {
    mkdir -p "$toolkit/stubs"
    { grep -ohE '\bcu[A-Z][A-Za-z0-9_]*' "$toolkit/include/cuda.h"; echo cuGetProcAddress_v2; } | sort -u |
        sed 's/.*/int &(void) { return 100; }/' >"$toolkit/stubs/cuda.c"
    cc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o "$toolkit/stubs/libcuda.so.1" "$toolkit/stubs/cuda.c"
    ln -sf libcuda.so.1 "$toolkit/stubs/libcuda.so"
    ln -sf ../stubs/libcuda.so "$toolkit/lib/libcuda.so"
}

if [ ! -e "$toolkit/complete" ]; then
    wheels=(--no-deps --only-binary=:all: --no-compile)
    if [ -n "${CUDA_WHEELS:-}" ]; then wheels+=(--no-index --find-links "$CUDA_WHEELS"); fi
    python3 -m pip install --quiet --upgrade --target "$toolkit/packages" "${wheels[@]}" "${PACKAGES[@]}" >&2
    ln -sfn packages/nvidia/cu13/{bin,nvvm} "$toolkit/"
    mkdir -p "$toolkit/include" "$toolkit/lib"
    for package in cu13 cudnn; do
        cp -rsf "$toolkit/packages/nvidia/$package/"{include,lib} "$toolkit/"
    done
    # The packages have libX.so.N; linkers look for libX.so, and nvcc for cicc beside its libdevice.
    for library in "$toolkit"/lib/*.so.*; do
        ln -sf "$(basename "$library")" "${library%%.so.*}.so"
    done
    ln -sfn lib "$toolkit/lib64"
    stub_driver
    "$toolkit/bin/nvcc" --version >&2
    touch "$toolkit/complete"
fi

# Only where there is no driver: the stub would hide it.
stubs=":$toolkit/stubs"
if ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1 '; then stubs=; fi

cat <<EXPORTS
export CUDA_HOME="$toolkit" CUDA_ROOT="$toolkit" CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-80}"
export PATH="$toolkit/bin:\$PATH"
export LIBRARY_PATH="$toolkit/lib\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
export LD_LIBRARY_PATH="\${LD_LIBRARY_PATH:+\$LD_LIBRARY_PATH:}$toolkit/lib$stubs"
EXPORTS
