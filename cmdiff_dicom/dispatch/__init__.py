"""Settles studies, rings workers through Celery over Redis, and picks up what was lost."""

from cmdiff_dicom.dispatch.children import Supervisor, stop_signal
from cmdiff_dicom.dispatch.dispatcher import Dispatcher
from cmdiff_dicom.dispatch.embedded import EmbeddedRedis
from cmdiff_dicom.dispatch.serving import serve_queue
from cmdiff_dicom.dispatch.settling import Recognise, Recognised
from cmdiff_dicom.dispatch.tasks import DELIVER_QUEUE, SEGMENT_QUEUE, Doorbell, make_celery_app, make_ringing_app

__all__ = [
    "DELIVER_QUEUE",
    "SEGMENT_QUEUE",
    "Dispatcher",
    "Doorbell",
    "EmbeddedRedis",
    "Recognise",
    "Recognised",
    "Supervisor",
    "make_celery_app",
    "make_ringing_app",
    "serve_queue",
    "stop_signal",
]
