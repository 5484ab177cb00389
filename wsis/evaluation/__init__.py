"""From predictions and ground truth to the metrics of a table; knows nothing of models.

`coco.evaluate`, `voc.evaluate_voc` and `class_agnostic.evaluate_class_agnostic` are a table's three
protocols; `run.evaluate_run` applies one to a run's folder; `submission.write_submission` packs predictions
for COCO's test server.
"""
