"""`python -m eshop_ray`: the command `eshop`, for an interpreter whose scripts are not on the path."""

from eshop_ray.cli import main

if __name__ == "__main__":
    main()
