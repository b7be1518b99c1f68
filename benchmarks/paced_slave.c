/* Modbus RTU units on pseudo-terminals that keep the time of a real line: paced_slave BAUD BUSES [FIFO]

Prints the name of each port, then serves until standard input ends, then prints one line per bus:

    transactions seconds median_us gaps kept worst_gap_us late_mean_us late_max_us

A question occupies the line for 8 characters of 11 bits from when it came; the unit waits t3.5; then each byte of the
answer is handed over at the end of its own character time (FIFO bytes at once with FIFO). seconds: from the end of the
first answer to the end of the last one; median_us: from the end of one answer to the end of the next. gaps: silences
between an answer and the next question; kept: how many were t3.5 at least. late: how much later than due the bytes were
handed over, the clock error of this program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CHARACTER_BITS 11
#define QUESTION 8
#define LONGEST 256
#define BUSES_MAX 64
#define INTERVALS_MAX 65536
#define NEVER INT64_MAX
/* Before a byte is due or a question may come, the program does not sleep: waking up takes this long. */
#define AWAKE_NS 150000

struct bus {
    int fd, held, length, sent;
    uint8_t question[LONGEST], answer[LONGEST];
    int64_t due, begin, first_end, last_end;
    long transactions, gaps, kept, bytes;
    double late_sum;
    int64_t late_max, worst_gap, *intervals;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static uint16_t crc16(const uint8_t *data, int length)
{
    uint16_t crc = 0xFFFF;
    for (int i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xA001 : crc >> 1;
    }
    return crc;
}

static void open_port(struct bus *bus)
{
    struct termios settings;
    memset(bus, 0, sizeof *bus);
    bus->due = NEVER;
    bus->worst_gap = NEVER;
    bus->intervals = calloc(INTERVALS_MAX, sizeof *bus->intervals);
    bus->fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (bus->fd < 0 || grantpt(bus->fd) || unlockpt(bus->fd) || tcgetattr(bus->fd, &settings)) {
        perror("pseudo-terminal");
        exit(1);
    }
    cfmakeraw(&settings);
    tcsetattr(bus->fd, TCSANOW, &settings);
    printf("%s\n", ptsname(bus->fd));
}

static void answer(struct bus *bus, int64_t came, int64_t character, int64_t gap)
{
    const uint8_t *q = bus->question;
    int count = q[4] << 8 | q[5];
    if (crc16(q, QUESTION) != 0 || count > 125) {
        fprintf(stderr, "a broken question\n");
        return;
    }
    if (bus->last_end) {
        int64_t silence = came - bus->last_end;
        bus->gaps++;
        bus->kept += silence >= gap;
        if (silence < bus->worst_gap)
            bus->worst_gap = silence;
    }
    uint8_t *a = bus->answer;
    a[0] = q[0], a[1] = q[1], a[2] = 2 * count;
    for (int i = 0; i < 2 * count; i++)
        a[3 + i] = i;
    bus->length = 5 + 2 * count;
    uint16_t crc = crc16(a, bus->length - 2);
    a[bus->length - 2] = crc & 0xFF, a[bus->length - 1] = crc >> 8;
    bus->sent = 0;
    bus->begin = came + QUESTION * character + gap;
    bus->due = bus->begin;
}

static void listen_to(struct bus *bus, int64_t character, int64_t gap)
{
    uint8_t data[LONGEST];
    ssize_t n = read(bus->fd, data, sizeof data);
    int64_t came = now_ns();
    for (ssize_t i = 0; i < n; i++) {
        bus->question[bus->held++] = data[i];
        if (bus->held == QUESTION) {
            bus->held = 0;
            answer(bus, came, character, gap);
        }
    }
}

static void hand_over(struct bus *bus, int64_t character, int fifo)
{
    int n = bus->length - bus->sent < fifo ? bus->length - bus->sent : fifo;
    int64_t due = bus->begin + (bus->sent + n) * character;
    int64_t now = now_ns();
    bus->due = due;
    if (now < due)
        return;
    if (write(bus->fd, bus->answer + bus->sent, n) != n)
        return; /* nobody has the port open */
    int64_t end = now, late = now_ns() - due; /* a byte can be seen before the call that hands it over returns */
    bus->late_sum += late;
    bus->bytes++;
    if (late > bus->late_max)
        bus->late_max = late;
    bus->sent += n;
    bus->due += character;
    if (bus->sent == bus->length) {
        bus->due = NEVER;
        if (bus->transactions)
            bus->intervals[(bus->transactions - 1) % INTERVALS_MAX] = end - bus->last_end;
        bus->transactions++;
        bus->last_end = end;
        if (!bus->first_end)
            bus->first_end = end;
    }
}

static int shorter(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static double median_us(struct bus *bus)
{
    long n = bus->transactions - 1 < INTERVALS_MAX ? bus->transactions - 1 : INTERVALS_MAX;
    if (n < 1)
        return 0;
    qsort(bus->intervals, n, sizeof *bus->intervals, shorter);
    return bus->intervals[n / 2] / 1e3;
}

static struct bus buses[BUSES_MAX];

int main(int argc, char **argv)
{
    int baud = argc > 1 ? atoi(argv[1]) : 9600, count = argc > 2 ? atoi(argv[2]) : 1;
    int fifo = argc > 3 ? atoi(argv[3]) : 1;
    int64_t character = 1000000000LL * CHARACTER_BITS / baud;
    int64_t gap = baud > 19200 ? 1750000 : 7 * character / 2;
    struct pollfd polled[1 + BUSES_MAX] = {{.fd = 0, .events = POLLIN}};
    setpriority(PRIO_PROCESS, 0, -20); /* as root; else the clock error tells */
    for (int i = 0; i < count; i++)
        open_port(&buses[i]);
    fflush(stdout);
    for (long round = 0;; round++) {
        int64_t now = now_ns(), next = NEVER;
        for (int i = 0; i < count; i++) {
            struct bus *bus = &buses[i];
            if (bus->due == NEVER)
                listen_to(bus, character, gap);
            else if (now >= bus->due)
                hand_over(bus, character, fifo);
            /* A question is due at the end of t3.5, and wakes us if it comes before. To wait for it without a pause
               would keep the processor from the kernel's thread that carries the answer's last byte to its reader. */
            int asked = bus->due == NEVER;
            int64_t due = asked ? bus->last_end + gap : bus->due;
            polled[1 + i] = (struct pollfd){.fd = asked ? bus->fd : -1, .events = POLLIN};
            if (due < next)
                next = due;
        }
        int64_t left = next - now_ns() - AWAKE_NS;
        struct timespec pause = {0, left > 0 ? left : 0};
        if (left > 0 || round % 4096 == 0)
            if (ppoll(polled, 1 + count, &pause, NULL) > 0 && polled[0].revents)
                break;
    }
    for (int i = 0; i < count; i++) {
        struct bus *b = &buses[i];
        double worst_us = b->gaps ? b->worst_gap / 1e3 : 0, late_us = b->bytes ? b->late_sum / b->bytes / 1e3 : 0;
        printf("%ld %.6f %.1f ", b->transactions, (b->last_end - b->first_end) / 1e9, median_us(b));
        printf("%ld %ld %.1f %.1f %.1f\n", b->gaps, b->kept, worst_us, late_us, b->late_max / 1e3);
    }
    return 0;
}
