"""Where the voxels of made-up scans lie, and smooth random fields on them."""

from collections.abc import Sequence

import numpy as np

_N_WAVES = 4
Vector = Sequence[float] | np.ndarray


def affine(
    axes: str, tilt_degrees: float, shape: Sequence[int], spacing: Vector, centre_mm: Vector
) -> np.ndarray:
    """Return the affine, voxel index to RAS+ mm, of a grid with its middle at a place in the world.

    `axes` and `tilt_degrees` as in `scan_files.ScanStyle`, spacing in mm. (4, 4) float64, in digits
    that float32 holds.
    """
    made = np.eye(4)
    made[:3, :3] = _directions(axes, tilt_degrees) * spacing
    made[:3, 3] = centre_mm - made[:3, :3] @ ((np.array(shape) - 1) / 2)
    return made.astype(np.float32).astype(np.float64)


def _directions(axes, tilt_degrees):
    """Return the unit vectors of the array axes in the world, a column per axis."""
    sides = {
        letter: np.eye(3)[axis] * sign
        for axis, pair in enumerate(("RL", "AP", "SI"))
        for letter, sign in zip(pair, (1, -1))
    }
    turn = rotation((tilt_degrees, 0.0, 0.0))
    return turn @ np.column_stack([sides[letter] for letter in axes])


def rotation(degrees: Vector) -> np.ndarray:
    """Return the (3, 3) matrix of turns about the x, then the y, then the z axis."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn, (a, b) = np.eye(3), [(1, 2), (2, 0), (0, 1)][axis]
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


class Plane:
    """A rectangle of one slice: voxel (i, j) lies at ``origin + i * step_i + j * step_j``."""

    def __init__(
        self, affine: np.ndarray, k: int, i_range: tuple[int, int], j_range: tuple[int, int]
    ):
        self.i = np.arange(*i_range, dtype=np.float32)[:, None]
        self.j = np.arange(*j_range, dtype=np.float32)[None, :]
        self.affine, self.k = affine, k

    def along(self, direction: Vector, start: Vector = (0.0, 0.0, 0.0)) -> np.ndarray:
        """Return ``direction . (world - start)``, linear in i and j.

        (I, J), or 1 where it does not change along an axis: most grids are not oblique, and
        broadcasting such lines and points is most of the generator's speed.
        """
        step = np.asarray(direction) @ self.affine[:3]
        offset = step[2] * self.k + step[3] - np.dot(direction, start)
        values: np.ndarray = np.full((1, 1), offset, np.float32)
        for factor, index in ((step[1], self.j), (step[0], self.i)):
            if factor:
                values = np.float32(factor) * index + values
        return values


def plane_waves(
    rng: np.random.Generator, count: int, wavelength_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the plane waves, each about so long, whose mean is a smooth random field.

    Returns (count, 3) and (count,) float64: wave vectors (radians per mm) and phases (radians).
    """
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = wavelength_mm * rng.uniform(0.7, 1.4, (count, 1))
    return 2 * np.pi * direction / length, rng.uniform(0, 2 * np.pi, count)


class Waves:
    """A smooth random field of a few plane waves, between about -1 and 1.

    A plane wave is a product of functions of i and j on any grid, which makes it cheap.
    """

    def __init__(self, rng: np.random.Generator, affine: np.ndarray, wavelength_mm: float):
        vectors, phases = plane_waves(rng, _N_WAVES, wavelength_mm)
        self._steps = vectors @ affine[:3]
        self._steps[:, 3] += phases

    def on(self, plane: Plane) -> np.ndarray:
        """Return the field on a `Plane`, (I, J) float32."""
        a = plane.i * self._steps[:, 0] + (self._steps[:, 2] * plane.k + self._steps[:, 3])
        b = plane.j.T * self._steps[:, 1]
        left = np.concatenate([np.cos(a), -np.sin(a)], axis=1) / np.sqrt(_N_WAVES)
        right = np.concatenate([np.cos(b), np.sin(b)], axis=1)
        # Not a matrix product: its sums could differ with the number of BLAS threads.
        field = np.zeros((len(left), len(right)), np.float32)
        for wave_i, wave_j in zip(left.T.astype(np.float32), right.T.astype(np.float32)):
            field += wave_i[:, None] * wave_j
        return field
