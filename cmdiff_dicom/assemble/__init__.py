"""Instances become stacks in slice order, recognised as T1, T1c, T2 or FLAIR, and volumes with exact geometry."""

from cmdiff_dicom.assemble.choice import Choice, choose_stacks
from cmdiff_dicom.assemble.explanation import explain
from cmdiff_dicom.assemble.plan import choice_from_plan, job_key, plan_of
from cmdiff_dicom.assemble.study import assemble_study
from cmdiff_dicom.assemble.volume import source_datasets

__all__ = ["Choice", "assemble_study", "choice_from_plan", "choose_stacks", "explain", "job_key", "plan_of", "source_datasets"]
