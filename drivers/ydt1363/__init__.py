"""YD/T 1363.3 (YDN 023), the protocol of Chinese power plants, UPSs, air conditioners and lithium batteries."""
