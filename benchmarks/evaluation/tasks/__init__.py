"""What codes and reconstructions are good for: few labels, outliers, denoising, compression."""
