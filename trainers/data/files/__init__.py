"""Sources of image files: folders, and tables that list them."""
