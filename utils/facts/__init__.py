"""What is true of one data set: names, folders, columns, labels."""
