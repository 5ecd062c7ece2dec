"""Number formats in training, a library on its own: what they hold, what gradients lose in them, loss scaling."""

from llmbench.kernels.precision.formats import Format, measured_format
from llmbench.kernels.precision.loss_scale import LossScaler
from llmbench.kernels.precision.rounding import Kept, lost, rounded, through

__all__ = ["Format", "Kept", "LossScaler", "lost", "measured_format", "rounded", "through"]
