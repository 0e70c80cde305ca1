import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import LABELS, OBLIQUE, read_valid
from hypothesis import HealthCheck, given, settings, strategies as st
from nilearn.maskers import NiftiMasker

import brainlens
