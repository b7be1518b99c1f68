/* A device made of libmodbus: libmodbus_server tcp | libmodbus_server rtu PORT UNIT
   Prints its TCP port, or "ready". SIZE cells in each table, filled by the rules below; serves until it is killed. */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE 2500

static modbus_mapping_t *filled(void)
{
    modbus_mapping_t *map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    for (int i = 0; map && i < SIZE; i++) {
        map->tab_bits[i] = i * i % 7 < 3;
        map->tab_input_bits[i] = i * i % 5 < 2;
        map->tab_registers[i] = 257 * i + 13;
        map->tab_input_registers[i] = 31 * i ^ 0x5555;
    }
    return map;
}

static void serve(modbus_t *line, modbus_mapping_t *map)
{
    uint8_t question[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(line, question);
        if (length > 0)
            modbus_reply(line, question, length, map); /* also the exceptions */
        else if (length < 0 && (errno == ECONNRESET || errno == EPIPE || errno == EBADF || errno == EIO))
            return;
    }
}

int main(int argc, char **argv)
{
    modbus_mapping_t *map = filled();
    if (argc == 4 && map) {
        modbus_t *line = modbus_new_rtu(argv[2], 19200, 'N', 8, 1);
        modbus_set_slave(line, atoi(argv[3]));
        if (modbus_connect(line)) {
            fprintf(stderr, "%s: %s\n", argv[2], modbus_strerror(errno));
            return 1;
        }
        puts("ready");
        fflush(stdout);
        serve(line, map);
        return 0;
    }
    modbus_t *line = modbus_new_tcp("127.0.0.1", 0);
    int listening = modbus_tcp_listen(line, 1);
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    if (!map || listening < 0 || getsockname(listening, (struct sockaddr *)&bound, &size)) {
        fprintf(stderr, "listen: %s\n", strerror(errno));
        return 1;
    }
    printf("%d\n", ntohs(bound.sin_port));
    fflush(stdout);
    while (modbus_tcp_accept(line, &listening) >= 0)
        serve(line, map);
    return 1;
}
