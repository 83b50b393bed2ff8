"""Arrays in, arrays out: geometry, labels, regions and denoising. No paths, no printing."""
