"""What is known of OCRNet without torch."""

from wsis.methods.info import Info
from wsis.methods.ocrnet.spec import OcrnetSpec

INFO = Info(
    name="ocrnet",
    network="wsis.methods.ocrnet.method:OCRNet",
    section=OcrnetSpec,
    heads=("ocr",),
    features=("dense",),
    supervision=("semantic",),
    sync_norm=True,
    fit="it tells classes apart, not objects",
)
