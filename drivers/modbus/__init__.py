"""Modbus: pure bytes in pdu, mbap and rtu, pure states in rtu_exchange; sockets and ports only in tcp_* and link_*."""
