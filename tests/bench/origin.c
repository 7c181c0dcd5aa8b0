/* The server end of the benchmark: one thread, one epoll set, 127.0.0.1 only.
 *
 *     origin PORT [DNS_PORT]
 *
 * On PORT it tells by the first bytes what is wanted:
 *     GET /small          200 with SMALL bytes of the pattern, keep-alive
 *     GET /bytes/N        200 with N bytes of the pattern
 *     ECHO\n              sends back all that follows
 *     CONNECT, or SOCKS5  says yes, whatever the target, and is the origin on the same connection: a relay that costs
 *                         the side of the load next to nothing, and a chain of any length
 * On DNS_PORT (UDP) every name has the address 127.0.0.1, and no other.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "pattern.h"

#define BUFFER 16384
#define DESCRIPTORS 65536

enum state { HEAD, SOCKS_REQUEST, SENDING, ECHO };

struct conn {
    enum state state;
    int fd;
    int closes;               /* after the answer that is being sent */
    int wants_out;            /* registered for EPOLLOUT instead of EPOLLIN */
    uint64_t left, position;  /* of the body that is being sent */
    size_t length, sent;      /* of what is in the buffer; sent: of an echo */
    char buffer[BUFFER];
};

static struct conn *conns[DESCRIPTORS];
static unsigned char *pattern;
static int pattern_file, epoll;
static char small_answer[SMALL + 200];
static size_t small_length;

/* Every function below returns 0, or -1 when the connection is to be closed. */

static int want_out(struct conn *c, int out) {
    if (c->wants_out == out) return 0;
    c->wants_out = out;
    struct epoll_event event = {.events = out ? EPOLLOUT : EPOLLIN, .data.fd = c->fd};
    return epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

/* Short answers fit the socket buffer of a client that waits for them. */
static int say(struct conn *c, const void *text, size_t length) {
    return send(c->fd, text, length, MSG_NOSIGNAL) == (ssize_t)length ? 0 : -1;
}

static void take(struct conn *c, size_t count) {
    c->length -= count;
    memmove(c->buffer, c->buffer + count, c->length);
}

static int send_body(struct conn *c) {
    while (c->left) {
        off_t at = c->position % PATTERN;
        uint64_t whole = PATTERN - (uint64_t)at, count = whole < c->left ? whole : c->left;
        ssize_t sent = sendfile(c->fd, pattern_file, &at, count);
        if (sent < 0 && errno == EAGAIN) return want_out(c, 1);
        if (sent <= 0) return -1;
        c->position += sent;
        c->left -= sent;
    }
    c->state = HEAD;
    return c->closes ? -1 : want_out(c, 0);
}

static int send_echo(struct conn *c) {
    while (c->sent < c->length) {
        ssize_t sent = send(c->fd, c->buffer + c->sent, c->length - c->sent, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN ? want_out(c, 1) : -1;
        c->sent += sent;
    }
    c->sent = c->length = 0;
    return want_out(c, 0);
}

static int answer_socks_greeting(struct conn *c) {
    if (c->length < 2 || c->length < 2 + (size_t)(unsigned char)c->buffer[1]) return 0;
    take(c, 2 + (unsigned char)c->buffer[1]);
    c->state = SOCKS_REQUEST;
    return say(c, "\5\0", 2);
}

static int answer_socks_request(struct conn *c) {
    unsigned char *request = (unsigned char *)c->buffer;
    if (c->length < 5) return 0;
    size_t whole = request[3] == 1 ? 10 : request[3] == 4 ? 22 : 7u + request[4];
    if (c->length < whole) return 0;
    take(c, whole);
    c->state = HEAD;
    return say(c, "\5\0\0\1\177\0\0\1\0\0", 10);
}

static int answer_head(struct conn *c, char *end) {
    *end = 0;
    size_t length = end + 4 - c->buffer;
    c->closes = strcasestr(c->buffer, "\r\nConnection: close") != NULL;
    if (!strncmp(c->buffer, "CONNECT ", 8)) {
        take(c, length);
        return say(c, "HTTP/1.1 200 OK\r\n\r\n", 19);
    }
    if (!strncmp(c->buffer, "GET /small ", 11)) {
        take(c, length);
        if (say(c, small_answer, small_length)) return -1;
        return c->closes ? -1 : 0;
    }
    if (!strncmp(c->buffer, "GET /bytes/", 11)) {
        c->left = strtoull(c->buffer + 11, NULL, 10);
        c->position = 0;
        take(c, length);
        char head[200];
        int count = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                             "Content-Length: %llu\r\n\r\n", (unsigned long long)c->left);
        c->state = SENDING;
        return say(c, head, count) ? -1 : send_body(c);
    }
    say(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 45);
    return -1;
}

/* What is in the buffer, as far as it goes. */
static int on_bytes(struct conn *c) {
    size_t before;
    do {
        before = c->length;
        if (!c->length) return 0;
        if (c->state == SOCKS_REQUEST) {
            if (answer_socks_request(c)) return -1;
        } else if (c->state == ECHO) {
            return send_echo(c);
        } else if (c->state == SENDING) {
            return 0;
        } else if (c->buffer[0] == 5) {
            if (answer_socks_greeting(c)) return -1;
        } else if (c->length >= 5 && !memcmp(c->buffer, "ECHO\n", 5)) {
            take(c, 5);
            c->state = ECHO;
        } else {
            char *end = memmem(c->buffer, c->length, "\r\n\r\n", 4);
            if (!end) return c->length == BUFFER ? -1 : 0;
            if (answer_head(c, end)) return -1;
        }
    } while (c->length != before);
    return 0;
}

static int on_event(struct conn *c, uint32_t events) {
    if (c->state == SENDING) {
        if (events & (EPOLLERR | EPOLLHUP) || send_body(c)) return -1;
        return on_bytes(c);
    }
    if (c->wants_out) return send_echo(c);
    ssize_t count = recv(c->fd, c->buffer + c->length, BUFFER - c->length, 0);
    if (count < 0) return errno == EAGAIN ? 0 : -1;
    if (count == 0) return -1;
    c->length += count;
    return on_bytes(c);
}

static void accept_some(int listener) {
    for (int i = 0; i < 64; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        struct conn *c = fd < DESCRIPTORS ? malloc(sizeof *c) : NULL;
        if (!c) { close(fd); continue; }
        memset(c, 0, offsetof(struct conn, buffer));
        c->fd = fd;
        conns[fd] = c;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

/* RFC 1035: the header, the question as it came, and for a question of type A one address; other types have none. */
static void answer_queries(int server) {
    static const unsigned char record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1};
    unsigned char message[512 + sizeof record];
    struct sockaddr_in client;
    for (int i = 0; i < 64; i++) {
        socklen_t size = sizeof client;
        ssize_t length = recvfrom(server, message, 512, MSG_DONTWAIT, (void *)&client, &size);
        if (length < 0) return;
        ssize_t at = 12;
        while (at < length && message[at]) at += message[at] + 1;
        at += 5; /* the root label, type and class */
        if (at > length) continue;
        int has_address = message[at - 4] == 0 && message[at - 3] == 1;
        message[2] = 0x81, message[3] = 0x80;       /* an answer, recursion desired and available, no error */
        memset(message + 6, 0, 6);                  /* no other records: what came with the question is left out */
        message[7] = has_address;
        if (has_address) memcpy(message + at, record, sizeof record), at += sizeof record;
        sendto(server, message, at, 0, (void *)&client, size);
    }
}

static int open_server(int kind, int port) {
    int fd = socket(AF_INET, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (bind(fd, (void *)&address, sizeof address) || (kind == SOCK_STREAM && listen(fd, 4096))) {
        perror("origin");
        exit(1);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    pattern = make_pattern(&pattern_file);
    small_length = sprintf(small_answer, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                           "Content-Length: %d\r\n\r\n", SMALL);
    memcpy(small_answer + small_length, pattern, SMALL);
    small_length += SMALL;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = open_server(SOCK_STREAM, atoi(argv[1]));
    int names = argc > 2 ? open_server(SOCK_DGRAM, atoi(argv[2])) : -1;
    struct epoll_event events[512];
    for (;;) {
        int count = epoll_wait(epoll, events, 512, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_some(fd);
            } else if (fd == names) {
                answer_queries(fd);
            } else if (conns[fd] && on_event(conns[fd], events[i].events)) {
                free(conns[fd]);
                conns[fd] = NULL;
                close(fd);
            }
        }
    }
}
