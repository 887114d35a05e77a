"""Pretrained: check folders of models and tokenizers, and read their configuration, without torch.

Other rooms import `model_folder`, `model_folder_modules` and `tokenizer`; the room `models` reads the weights.
"""
