"""Modbus: pure bytes in pdu, mbap and rtu; sockets and ports only in link_*."""
