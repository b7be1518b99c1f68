"""Plain-loop kernels. numba is imported only in `_jit`; everything else here is numpy and arithmetic."""
