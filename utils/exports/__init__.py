"""The finished data set for training frameworks: nnU-Net and MONAI."""
