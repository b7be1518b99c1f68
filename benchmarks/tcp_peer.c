/* Modbus TCP at the least a machine can do, in C over epoll, one thread.
 *
 *   tcp_peer serve PORT                    answers every read of registers with as many zeros, until it is killed
 *   tcp_peer ask PORT CONNECTIONS SECONDS  reads 100 registers in lock step on each; prints "transactions cpu_s wall_s"
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define QUESTION 12
#define REGISTERS 100
#define ANSWER (9 + 2 * REGISTERS)

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static struct sockaddr_in local(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void watch(int epoll, int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

static int serve(int port)
{
    int on = 1, epoll = epoll_create1(0), door = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = local(port);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(door, (void *)&a, sizeof a) || listen(door, 4096)) {
        perror("tcp_peer: listen");
        return 1;
    }
    watch(epoll, door);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            unsigned char question[4 * QUESTION], answer[260] = {0};
            if (fd == door) {
                if ((fd = accept(door, NULL, NULL)) >= 0)
                    watch(epoll, fd);
                continue;
            }
            ssize_t got = recv(fd, question, sizeof question, 0);
            if (got <= 0) {
                close(fd);
                continue;
            }
            for (unsigned char *q = question; q + QUESTION <= question + got; q += QUESTION) {
                int bytes = 2 * (q[10] << 8 | q[11]);
                memcpy(answer, q, 8);
                answer[4] = (bytes + 3) >> 8, answer[5] = bytes + 3, answer[8] = bytes;
                if (send(fd, answer, 9 + bytes, MSG_NOSIGNAL) < 0)
                    close(fd);
            }
        }
    }
}

static int ask(int port, int connections, double length)
{
    unsigned char question[QUESTION] = {0, 0, 0, 0, 0, 6, 1, 3, 0, 0, 0, REGISTERS}, answer[300];
    int epoll = epoll_create1(0);
    struct sockaddr_in a = local(port);
    long done = 0;
    for (int i = 0; i < connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&a, sizeof a)) {
            perror("tcp_peer: connect");
            return 1;
        }
        watch(epoll, fd);
        send(fd, question, QUESTION, 0);
    }
    double cpu0 = cpu(), began = seconds(), now = began;
    while ((now = seconds()) < began + length) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, 1000);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (recv(fd, answer, sizeof answer, 0) != ANSWER || memcmp(answer, question, 4) || answer[8] != 2 * REGISTERS) {
                fprintf(stderr, "tcp_peer: not an answer\n");
                return 1;
            }
            done++;
            send(fd, question, QUESTION, MSG_NOSIGNAL);
        }
    }
    printf("%ld %f %f\n", done, cpu() - cpu0, now - began);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "serve"))
        return serve(atoi(argv[2]));
    if (argc == 5 && !strcmp(argv[1], "ask"))
        return ask(atoi(argv[2]), atoi(argv[3]), atof(argv[4]));
    fprintf(stderr, "usage: tcp_peer serve PORT | ask PORT CONNECTIONS SECONDS\n");
    return 2;
}
