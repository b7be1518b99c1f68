/* The yardstick: libmodbus reads holding registers as fast as it can: libmodbus_master PORT BAUD REGISTERS SECONDS

libmodbus keeps no silence of its own before a question; t3.5 after each answer is added. Prints the reads and the
microseconds of CPU time. */
#include <errno.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int baud = atoi(argv[2]), registers = atoi(argv[3]);
    long gap_ns = baud > 19200 ? 1750000 : 3500000000LL * 11 / baud;
    struct timespec gap = {0, gap_ns};
    uint16_t values[125];
    modbus_t *line = modbus_new_rtu(argv[1], baud, 'E', 8, 1);
    modbus_set_slave(line, 1);
    if (modbus_connect(line)) {
        fprintf(stderr, "%s: %s\n", argv[1], modbus_strerror(errno));
        return 1;
    }
    long reads = 0;
    for (double end = seconds() + atof(argv[4]); seconds() < end; reads++) {
        if (modbus_read_registers(line, 0, registers, values) != registers) {
            fprintf(stderr, "read: %s\n", modbus_strerror(errno));
            return 1;
        }
        nanosleep(&gap, NULL);
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("%ld %ld\n", reads,
           (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000L + used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    return 0;
}
