"""When jobs arrive: one strategy for each shape. Pure: the same seed and position give the same arrivals."""
