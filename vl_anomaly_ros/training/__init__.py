# SPDX-License-Identifier: Apache-2.0
"""From a data set to a bundle: CLIP, segmenter and PL-Aligner training, export, evaluation."""
