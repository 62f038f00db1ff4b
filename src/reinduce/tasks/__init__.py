"""The library of tasks, a module each; tasks that one paper alone needs lie in its study."""
