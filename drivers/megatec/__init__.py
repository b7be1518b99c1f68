"""The Megatec/Q1 family: the ASCII protocol of small and middle UPSs (Santak, KSTAR, EAST, Voltronic and many more)."""
