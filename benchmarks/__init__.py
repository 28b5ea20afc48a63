"""Speed, as ratios taken in one run beside named peers."""
