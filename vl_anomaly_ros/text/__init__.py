# SPDX-License-Identifier: Apache-2.0
"""Vocabulary, prompts, tokenizer and the text bank."""
