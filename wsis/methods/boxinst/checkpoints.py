"""Official checkpoints of BoxInst: AdelaiDet's, and mmdetection's with 16 channels of the dynamic head."""

from wsis.methods.condinst.checkpoints import adelaidet, configs, mmdetection

ADELAIDET = {f"MS_R_{d}_{s}x": f"r{d}-{s}x" for d in (50, 101) for s in (1, 3)}
MMDETECTION = {f"boxinst_r{d}_fpn_ms-90k_coco": f"r{d}-1x" for d in (50, 101)}

SOURCES = (
    adelaidet(configs("boxinst", "BoxInst", {}, ADELAIDET)),
    mmdetection(configs("boxinst", "boxinst", {"model.head_channels": 16}, MMDETECTION)),
)
