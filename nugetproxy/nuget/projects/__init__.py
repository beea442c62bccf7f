"""What files of .NET repositories say of the packages that they need, one reader per family."""
