"""The scattering transform in PyTorch: any CPU or GPU, float32 or float64, differentiable.

Equal to reference.py, arranged for speed: all angles in one FFT call, spectra handled as interleaved reals, the mean of
the aliases as a sum of views, and the low-pass (with decimation and crop) as two small real matrix products.
"""

import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from scatcache.scattering.filters import centering_ramp, filter_bank, lowpass_matrix, reflect_indices
from scatcache.scattering.reduction import average_angles
from scatcache.spec import ScatteringSpec

# Working set of one pass. On a CPU: larger ones leave the cache, smaller ones spend their time holding the GIL (one
# 32 px image a pass runs no faster on two threads than on one). On a GPU it only has to fit beside the results.
BUDGET_BYTES = {"cpu": 4 << 20, "cuda": 1 << 30}
# Measured: below this many pixels a complex FFT beats a real one that is completed by symmetry.
REAL_FFT_PIXELS = 64 * 64


class TorchScattering(nn.Module):
    """The transform of one image shape; filters are non-persistent buffers that keep their precision in any .to().

    shape: (H, W) in pixels. Raises ValueError for those that spec.check_shape refuses.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int]) -> None:
        super().__init__()
        self.spec = spec
        self.shape = shape
        self.padded_shape = spec.padded_shape(*shape)
        self._register("rows", torch.from_numpy(reflect_indices(shape[0], self.padded_shape[0])))
        self._register("columns", torch.from_numpy(reflect_indices(shape[1], self.padded_shape[1])))
        self._register_wavelets()
        self._register_lowpass()

    @property
    def device(self) -> torch.device:
        return self.rows.device

    def forward(self, planes: Tensor) -> Tensor:
        """Coefficients of image planes (n, H, W): (n, n_paths, h, w), in the dtype of planes, float32 or float64.

        uint8 is divided by 255 in float32. Raises TypeError for other dtypes.
        """
        planes = scale_pixels(planes)
        if len(planes) == 0:
            _, height, width = self.spec.output_shape(*self.shape)
            return planes.new_empty(0, self.spec.n_paths, height, width)
        budget_bytes = BUDGET_BYTES.get(planes.device.type, BUDGET_BYTES["cuda"])
        chunk = max(1, budget_bytes // self.plane_bytes(planes.element_size()))
        with torch.autocast(planes.device.type, enabled=False), _EXACT_MATMUL:
            parts = (self._scatter(part, budget_bytes) for part in planes.split(chunk))
            return torch.cat([average_angles(part, self.spec) for part in parts])

    def plane_bytes(self, element_bytes: int) -> int:
        """Bytes of the largest complex maps that one plane passes through."""
        pixels = self.padded_shape[0] * self.padded_shape[1]
        n_maps = self.spec.L * max(1, self.spec.L // 4 if self.spec.max_order == 2 and self.spec.J > 1 else 1)
        return 2 * element_bytes * pixels * n_maps

    def _scatter(self, planes: Tensor, budget_bytes: int) -> Tensor:
        padded = planes.index_select(-2, self.rows).index_select(-1, self.columns)
        coefficients = [self._lowpass(padded, 0).unsqueeze(1)]
        if self.spec.max_order == 0:
            return coefficients[0]
        spectrum = _spectrum(padded)
        second: list[Tensor] = []
        for j1 in range(self.spec.J):
            u1 = self._wavelet_modulus(spectrum, j1, res=0)
            coefficients.append(self._lowpass(u1, j1))
            if self.spec.max_order == 2 and j1 + 1 < self.spec.J:
                second.append(self._second_order(u1, j1, budget_bytes))
        return torch.cat(coefficients + second, dim=1)

    def _second_order(self, u1: Tensor, j1: int, budget_bytes: int) -> Tensor:
        """S2 from U1 (n, L, P, Q) at scale j1: (n, L * (J - 1 - j1) * L, h, w)."""
        theta_bytes = self.plane_bytes(u1.element_size()) * u1.shape[0] // self.spec.L
        parts = []
        for u1_part in u1.split(max(1, budget_bytes // theta_bytes), dim=1):
            spectrum = _spectrum(u1_part)
            scales = range(j1 + 1, self.spec.J)
            maps = [self._lowpass(self._wavelet_modulus(spectrum, j2, res=j1), j2) for j2 in scales]
            parts.append(torch.stack(maps, dim=2).flatten(1, 3))
        return torch.cat(parts, dim=1)

    def _wavelet_modulus(self, spectrum: Tensor, j: int, res: int) -> Tensor:
        """|x * psi_{j, theta}| at resolution 2^j for all theta, from x's interleaved spectrum (..., P, 2 Q) at 2^res.

        Returns (..., L, P / 2^(j - res), Q / 2^(j - res)).
        """
        if self.spec.is_centered and res < j:
            spectrum = self._centre(spectrum, j, res)
        psi = self.get_buffer(f"psi_{j}_{res}").to(spectrum.dtype)
        stride = 2 ** (j - res)
        height, width = spectrum.shape[-2] // stride, spectrum.shape[-1] // stride
        aliases = spectrum.view(*spectrum.shape[:-2], 1, stride, height, stride, width)
        psi_aliases = psi.view(-1, stride, height, stride, width)
        folded = aliases[..., 0, :, 0, :] * psi_aliases[:, 0, :, 0]
        for alias in range(1, stride * stride):
            a, b = divmod(alias, stride)
            folded.addcmul_(aliases[..., a, :, b, :], psi_aliases[:, a, :, b])
        return _modulus(torch.fft.ifft2(torch.view_as_complex(folded.unflatten(-1, (-1, 2)))))

    def _centre(self, spectrum: Tensor, j: int, res: int) -> Tensor:
        """The interleaved spectrum at 2^res of maps moved to where samples at 2^j lie on the centered grid."""
        ramp = torch.view_as_complex(self.get_buffer(f"ramp_{j}_{res}").to(spectrum.dtype))
        moved = torch.view_as_complex(spectrum.unflatten(-1, (-1, 2))) * ramp
        return torch.view_as_real(moved).flatten(-2)

    def _lowpass(self, maps: Tensor, j: int) -> Tensor:
        """maps (..., P, Q) at resolution 2^j, averaged by phi and sampled every 2^J pixels: (..., h, w)."""
        left = self.get_buffer(f"lowpass_rows_{j}").to(maps.dtype)
        right = self.get_buffer(f"lowpass_columns_{j}").to(maps.dtype)
        return torch.matmul(left, torch.matmul(maps, right))

    def _register_wavelets(self) -> None:
        if self.spec.max_order == 0:
            return
        bank = filter_bank(self.spec, self.padded_shape)
        for j in range(self.spec.J):
            for res in range(max(j, 1) if self.spec.max_order == 2 else 1):
                # Each value twice, for real and imaginary parts; the mean over 4^(j - res) aliases is an exact scale.
                interleaved = torch.tensor(bank.psi[j][res]).repeat_interleave(2, -1)
                self._register(f"psi_{j}_{res}", interleaved / 4 ** (j - res))
                if self.spec.is_centered and res < j:
                    ramps = [centering_ramp(self.spec, size >> res, j - res) for size in self.padded_shape]
                    # As reals: a module cast to half precision leaves complex buffers no imaginary part.
                    self._register(f"ramp_{j}_{res}", torch.view_as_real(torch.from_numpy(np.outer(*ramps))))

    def _register_lowpass(self) -> None:
        for j in range(self.spec.J if self.spec.max_order else 1):
            rows = torch.tensor(lowpass_matrix(self.spec, self.padded_shape[0], j))
            columns = torch.tensor(lowpass_matrix(self.spec, self.padded_shape[1], j)).T.contiguous()
            self._register(f"lowpass_rows_{j}", rows)
            self._register(f"lowpass_columns_{j}", columns)

    def _register(self, name: str, buffer: Tensor) -> None:
        self.register_buffer(name, buffer, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TorchScattering":
        # .half() or .to(torch.bfloat16) of a model around us must not round the filters: only devices change.
        def keep_dtype(buffer: Tensor) -> Tensor:
            moved = fn(buffer)
            return moved if moved.dtype == buffer.dtype else buffer.to(moved.device)

        return super()._apply(keep_dtype, recurse)


class LazyTorchScattering(nn.Module):
    """TorchScattering made on first use, for backends that leave to torch what they cannot compute.

    It follows .to(device) before that too. Raises ValueError for shapes that spec.check_shape refuses.
    """

    anchor: Tensor
    built: TorchScattering | None

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int]) -> None:
        super().__init__()
        spec.check_shape(*shape)
        self.spec = spec
        self.shape = shape
        self.register_buffer("anchor", torch.empty(0, device="cpu"), persistent=False)
        self.register_module("built", None)

    @property
    def device(self) -> torch.device:
        return self.anchor.device

    def forward(self, planes: Tensor) -> Tensor:
        """As TorchScattering's."""
        if self.built is None:
            # Never inside a graph: its filters would be part of it. A decorator would load torch._dynamo at import.
            build = torch.compiler.disable(self._build) if torch.compiler.is_compiling() else self._build
            build()
        assert self.built is not None
        coefficients: Tensor = self.built(planes)
        return coefficients

    def _build(self) -> None:
        with torch.inference_mode(False):  # or the filters could take part in no gradient later
            self.built = TorchScattering(self.spec, self.shape).to(self.device)


def scale_pixels(images: Tensor) -> Tensor:
    """Floats as they are; uint8 as float32 in [0, 1]. Raises TypeError for every dtype but uint8, float32, float64."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32) / 255
    if images.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"images are {images.dtype}: expected uint8, float32 or float64; convert with .to(torch.float32) "
            f"(spectra overflow in half precision)"
        )
    return images


def _spectrum(maps: Tensor) -> Tensor:
    """The 2-D DFT of real maps (..., P, Q), Q even: interleaved reals (..., P, 2 Q).

    The mean is left out and put back as X[0, 0] = P Q mean: rounding then scales with the maps' contrast, not with
    their brightness, which wavelets remove (measured on a flat CIFAR-10 image, order 2: 1.7e-6 with the mean in).
    """
    mean = maps.detach().mean((-2, -1), keepdim=True)
    maps = maps - mean
    if maps.shape[-2] * maps.shape[-1] < REAL_FFT_PIXELS:
        spectrum = torch.fft.fft2(maps)
    else:
        half = torch.fft.rfft2(maps)
        # X[-k, -l] = conj X[k, l]: flip all rows, then turn row P - 1, which now stands first, into the last.
        mirrored = half[..., 1:-1].flip(-2, -1).roll(1, -2).conj_physical()
        spectrum = torch.cat((half, mirrored), dim=-1)
    spectrum[..., 0, 0] += mean[..., 0, 0] * (maps.shape[-2] * maps.shape[-1])
    return torch.view_as_real(spectrum).flatten(-2)


def _modulus(maps: Tensor) -> Tensor:
    """|z| of complex maps; where a gradient is wanted, one that is 0 at z = 0."""
    if maps.requires_grad:
        return maps.abs()
    # Four times faster than abs, which guards against overflow of squares that images never reach.
    squares = torch.view_as_real(maps).square_()
    return (squares[..., 0] + squares[..., 1]).sqrt_()


class _ExactMatmul:
    """Matrix products in full float32, whatever precision the training script has set: TF32 keeps 3 digits.

    The setting is the process's, so the first thread in sets it and the last one out restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._found = "highest"

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._found = torch.get_float32_matmul_precision()
                if self._found != "highest":
                    torch.set_float32_matmul_precision("highest")
            self._n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0 and self._found != "highest":
                torch.set_float32_matmul_precision(self._found)


_EXACT_MATMUL = _ExactMatmul()
