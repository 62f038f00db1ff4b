"""The library of metrics, a module a family; metrics that one paper alone needs lie in its study."""
