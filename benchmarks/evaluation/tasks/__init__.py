"""Tasks for codes and reconstructions: few labels, clusters, outliers, denoising, compression."""
