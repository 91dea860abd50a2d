"""A deterministic simulator: real engines and real frames on a network, disks, processes and clocks that follow from a seed."""
