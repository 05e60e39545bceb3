"""What people read: documents as Markdown and as a page, pictures in one style, and what has to be said of the data."""
