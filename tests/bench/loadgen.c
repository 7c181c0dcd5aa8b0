/* The load of the benchmark: one thread, one epoll set, proxies and origins on 127.0.0.1 only.
 *
 *     loadgen --kind connect --proxy PORT --origin PORT --mode MODE [--OPTION VALUE ...]
 *
 * --kind    how the proxy is asked: http (absolute form), connect, socks5; or relay: not at all, it has one target
 * --mode    get       GET /small again and again; --keepalive 0: by a connection and a tunnel of its own each
 *           download  a body without end in each tunnel
 *           messages  --size bytes to the origin and back, again and again, in each tunnel
 *           hold      each tunnel does nothing, and must carry --size bytes to the origin and back afterwards
 * --conns   connections at once, all the time
 * --seconds that are measured, after --warmup seconds (get and messages only)
 * --host    what the origin is called; --fresh PREFIX: each tunnel asks for a name of its own, PREFIX and a number
 *
 * Every mode but get first opens all connections, prints READY, and goes on when it reads a line: whoever started it
 * looks at the proxy in between. The last line is JSON. "whole" counts what was answered with every byte as it should
 * be in the measured time, "whole_ever" also in the warm-up; everything else is in "failures", by name.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "pattern.h"

#define INPUT 8192
#define OPENING_MAX 64     /* connections in the making at once */
#define FAILURES_MAX 20000 /* then it gives up */
#define SETUP_S 30.0       /* for opening all connections */
#define GRACE_S 5.0        /* longer than asked, until anything happens: the machine may be busy */
#define STALLED_S 2.0      /* a request that waits longer at the end has stalled */
#define FOREVER (1ull << 50)

enum kind { HTTP, CONNECT, SOCKS5, RELAY };
enum mode { GET, DOWNLOAD, MESSAGES, HOLD };
enum state { CLOSED, CONNECTING, SOCKS_METHOD, SOCKS_REPLY, CONNECT_REPLY, IDLE, ANSWER_HEAD, ANSWER_BODY, ECHOED };

struct conn {
    enum state state;
    int index, fd, wants_out;
    int number;                  /* of the connection, for a name that no other has */
    int reused;                  /* an answer has come by this connection */
    int last;                    /* the server closes after this answer */
    int opened;                  /* it was counted as open */
    uint64_t left, position;     /* of the body or echo that is awaited */
    double began;
    size_t in_length, out_length, out_sent;
    char in[INPUT], out[1024];
};

static const char *const KINDS[] = {"http", "connect", "socks5", "relay", NULL};
static const char *const MODES[] = {"get", "download", "messages", "hold", NULL};

static enum kind kind = CONNECT;
static enum mode mode = GET;
static int proxy_port, origin_port, conn_count = 1, keepalive, size = 64;
static double seconds = 1, warmup;
static const char *host = "127.0.0.1", *fresh;

static struct conn *conns;
static unsigned char *pattern;
static int epoll, opening, open_count, next_conn, started;
static int going;               /* all connections are open, and the load has begun */
static double measured_from, ends_at;
static uint64_t whole, whole_ever, bytes, reconnects;
static float *waits_us;
static size_t wait_count, wait_room;
static struct { const char *name; uint64_t count; } failures[32];
static uint64_t failure_count;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void want_out(struct conn *c, int out) {
    if (c->wants_out == out) return;
    c->wants_out = out;
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.u32 = c->index};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void start(struct conn *c);

static void shut(struct conn *c) {
    if (c->fd >= 0) close(c->fd);
    if (c->state < IDLE && c->state != CLOSED) opening--;
    if (c->opened) open_count--;
    c->fd = -1;
    c->opened = 0;
    c->state = CLOSED;
}

/* This request did not end well. In mode get another one is begun, else the connection is lost. */
static void fail(struct conn *c, const char *name) {
    int i = 0;
    while (i < 31 && failures[i].name && strcmp(failures[i].name, name)) i++;
    failures[i].name = name;
    failures[i].count++;
    shut(c);
    if (++failure_count > FAILURES_MAX) ends_at = 0;
    else if (mode == GET) start(c);
}

static void flush_out(struct conn *c) {
    while (c->out_sent < c->out_length) {
        ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) { want_out(c, 1); return; }
        if (sent < 0) { fail(c, "send"); return; }
        c->out_sent += sent;
    }
    want_out(c, 0);
}

static void put(struct conn *c, const void *text, size_t length) {
    memcpy(c->out, text, length);
    c->out_length = length;
    c->out_sent = 0;
    flush_out(c);
}

static void target(const struct conn *c, char *name) {
    if (fresh) sprintf(name, "%s%d.test", fresh, c->number);
    else strcpy(name, host);
}

static void ask(struct conn *c) {
    char name[256], text[1024];
    target(c, name);
    c->state = ANSWER_HEAD;
    c->in_length = 0;
    char path[64], authority[300] = "";
    if (mode == DOWNLOAD) sprintf(path, "/bytes/%llu", FOREVER);
    else strcpy(path, "/small");
    if (kind == HTTP) sprintf(authority, "http://%s:%d", name, origin_port);
    int length = snprintf(text, sizeof text, "GET %s%s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: loadgen\r\nAccept: */*\r\n%s\r\n",
                          authority, path, name, origin_port, mode == GET && !keepalive ? "Connection: close\r\n" : "");
    put(c, text, length);
}

static void send_echo(struct conn *c, int first) {
    char text[1024];
    c->state = ECHOED;
    c->left = size;
    c->position = 0;
    if (first) memcpy(text, "ECHO\n", 5);
    memcpy(text + (first ? 5 : 0), pattern, size);
    put(c, text, size + (first ? 5 : 0));
}

/* The way to the origin is open. */
static void opened(struct conn *c) {
    opening--;
    c->in_length = 0;
    c->state = IDLE;
    if (mode == GET) { ask(c); return; }
    if (mode == DOWNLOAD) { c->opened = 1; open_count++; return; }
    send_echo(c, 1); /* so that both ways have carried something */
}

static void start(struct conn *c) {
    int one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(proxy_port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = CONNECTING;
    c->number = started++;
    c->in_length = c->out_length = c->out_sent = 0;
    c->reused = c->last = 0;
    c->wants_out = 1;
    c->began = now();
    opening++;
    if (c->fd < 0 || (connect(c->fd, (void *)&address, sizeof address) && errno != EINPROGRESS)) {
        ends_at = 0; /* of this machine's making, and it would be so at once again */
        failures[31].name = "no socket";
        failures[31].count++;
        failure_count++;
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = c->index};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static void count_whole(struct conn *c) {
    double at = now();
    whole_ever++;
    if (at < measured_from) return;
    whole++;
    if (wait_count == wait_room) {
        wait_room = wait_room ? 2 * wait_room : 1 << 16;
        waits_us = realloc(waits_us, wait_room * sizeof *waits_us);
    }
    waits_us[wait_count++] = (at - c->began) * 1e6;
}

static void connected(struct conn *c) {
    char name[256], text[512];
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) { fail(c, "connect"); return; }
    want_out(c, 0);
    if (kind == HTTP || kind == RELAY) { opened(c); return; }
    if (kind == SOCKS5) {
        c->state = SOCKS_METHOD;
        put(c, "\5\1\0", 3);
        return;
    }
    target(c, name);
    c->state = CONNECT_REPLY;
    put(c, text, sprintf(text, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n", name, origin_port, name, origin_port));
}

static void on_socks(struct conn *c) {
    unsigned char *in = (unsigned char *)c->in, request[300] = {5, 1, 0, 3};
    if (c->state == SOCKS_METHOD) {
        if (c->in_length < 2) return;
        if (in[0] != 5 || in[1] || c->in_length > 2) { fail(c, "SOCKS method"); return; }
        c->in_length = 0;
        c->state = SOCKS_REPLY;
        target(c, (char *)request + 5);
        size_t length = request[4] = strlen((char *)request + 5);
        request[5 + length] = origin_port >> 8, request[6 + length] = origin_port & 255;
        put(c, request, 7 + length);
        return;
    }
    if (c->in_length >= 2 && in[1]) { fail(c, "SOCKS refused"); return; }
    if (c->in_length < 5) return;
    size_t expected = in[3] == 1 ? 10 : in[3] == 4 ? 22 : 7u + in[4];
    if (c->in_length > expected) fail(c, "bytes after the SOCKS reply");
    else if (c->in_length == expected) opened(c);
}

static void on_connect_reply(struct conn *c) {
    char *end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
    if (!end) return;
    if (strncmp(c->in, "HTTP/1.", 7) || atoi(c->in + 9) != 200) fail(c, "CONNECT refused");
    else if (end + 4 != c->in + c->in_length) fail(c, "bytes after the CONNECT reply");
    else opened(c);
}

/* Counts bytes of the body or echo. Whether they are the pattern's. */
static int expected(struct conn *c, const unsigned char *data, size_t count) {
    if (count > c->left) return 0;
    for (size_t done = 0; done < count;) {
        size_t at = (c->position + done) % PATTERN, piece = PATTERN - at;
        if (piece > count - done) piece = count - done;
        if (memcmp(data + done, pattern + at, piece)) return 0;
        done += piece;
    }
    c->position += count;
    c->left -= count;
    if (going && mode == DOWNLOAD) bytes += count;
    return 1;
}

static void answered(struct conn *c) {
    if (c->position != SMALL) { fail(c, "answer cut short"); return; }
    count_whole(c);
    c->reused = 1;
    if (keepalive && !c->last) {
        c->began = now();
        ask(c);
        return;
    }
    if (keepalive) reconnects++;
    shut(c);
    start(c);
}

static void on_answer_head(struct conn *c) {
    char *end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
    if (!end) return;
    *end = 0;
    if (strncmp(c->in, "HTTP/1.", 7) || atoi(c->in + 9) != 200) { fail(c, "status not 200"); return; }
    c->last = (c->in[7] == '0' && !strcasestr(c->in, "keep-alive")) || strcasestr(c->in, "\r\nConnection: close") ||
              strcasestr(c->in, "\r\nProxy-Connection: close");
    char *length = strcasestr(c->in, "\r\nContent-Length:");
    uint64_t asked = mode == DOWNLOAD ? FOREVER : SMALL;
    if (length && strtoull(length + 17, NULL, 10) != asked) { fail(c, "wrong Content-Length"); return; }
    if (!length) c->last = 1; /* the body ends with the connection, and may have no other length all the same */
    size_t head = end + 4 - c->in;
    c->left = asked;
    c->position = 0;
    c->state = ANSWER_BODY;
    if (!expected(c, (unsigned char *)c->in + head, c->in_length - head)) fail(c, "bytes differ");
    else if (!c->left && length) answered(c);
}

static void on_data(struct conn *c, const unsigned char *data, size_t count) {
    if (!expected(c, data, count)) { fail(c, "bytes differ"); return; }
    if (c->left) return;
    if (c->state == ANSWER_BODY) { answered(c); return; }
    c->state = IDLE;
    if (!c->opened) {
        c->opened = 1;
        open_count++;
    } else if (mode == HOLD) {
        whole++;
    } else {
        count_whole(c);
        c->began = now();
        send_echo(c, 0);
    }
}

static void ended(struct conn *c, int failed) {
    if (c->state == ANSWER_HEAD && c->reused && !c->in_length) { /* a kept connection may be closed at any time */
        reconnects++;
        shut(c);
        start(c);
    } else if (c->state == ANSWER_BODY && c->last && !c->left) {
        answered(c);
    } else {
        fail(c, failed ? "reset" : c->state < IDLE ? "closed while opening" : c->state == IDLE ? "closed while idle"
                : "closed before the end");
    }
}

static void on_event(struct conn *c, uint32_t events) {
    static unsigned char data[1 << 18];
    if (c->state == CLOSED) return;
    if (c->state == CONNECTING) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) connected(c);
        return;
    }
    if (events & EPOLLOUT) {
        flush_out(c);
        if (c->state == CLOSED || c->state == CONNECTING) return;
    }
    if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP))) return;
    int is_bulk = c->state == ANSWER_BODY || c->state == ECHOED;
    for (int i = 0; i < 8; i++) {
        void *room = is_bulk ? (void *)data : c->in + c->in_length;
        ssize_t count = recv(c->fd, room, is_bulk ? sizeof data : INPUT - 1 - c->in_length, 0);
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) { ended(c, count < 0); return; }
        if (is_bulk) {
            on_data(c, data, count);
            if (mode != DOWNLOAD || c->state != ANSWER_BODY) return;
            continue;
        }
        c->in_length += count;
        c->in[c->in_length] = 0;
        if (c->state == SOCKS_METHOD || c->state == SOCKS_REPLY) on_socks(c);
        else if (c->state == CONNECT_REPLY) on_connect_reply(c);
        else if (c->state == ANSWER_HEAD) on_answer_head(c);
        else { fail(c, "bytes that nobody asked for"); return; }
        if (c->in_length == INPUT - 1 && c->state != ANSWER_BODY) fail(c, "head too long");
        return;
    }
}

static void go(void) {
    char line[16];
    printf("READY %d\n", open_count);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) exit(1); /* whoever started us has ended */
    going = 1;
    measured_from = now() + (mode == MESSAGES ? warmup : 0);
    ends_at = measured_from + (mode == HOLD ? SETUP_S : seconds);
    for (int i = 0; i < conn_count; i++) {
        struct conn *c = &conns[i];
        if (c->state != IDLE) continue;
        c->began = now();
        if (mode == DOWNLOAD) ask(c);
        else send_echo(c, 0);
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) { return wait_count ? waits_us[(size_t)(share * (wait_count - 1) + 0.5)] : 0; }

static int report(void) {
    double took = now() - measured_from;
    int stalled = 0;
    for (int i = 0; i < conn_count; i++)
        stalled += conns[i].state != CLOSED && conns[i].state != IDLE && now() - conns[i].began > STALLED_S &&
                   !(mode == DOWNLOAD && conns[i].position);
    qsort(waits_us, wait_count, sizeof *waits_us, by_size);
    printf("{\"whole\": %llu, \"whole_ever\": %llu, \"seconds\": %.4f, \"bytes\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"reconnects\": %llu, \"stalled\": %d, \"failures\": {",
           (unsigned long long)whole, (unsigned long long)whole_ever, took, (unsigned long long)bytes, percentile(.5),
           percentile(.99), (unsigned long long)reconnects, stalled);
    const char *comma = "";
    for (int i = 0; i < 32; i++)
        if (failures[i].name) {
            printf("%s\"%s\": %llu", comma, failures[i].name, (unsigned long long)failures[i].count);
            comma = ", ";
        }
    printf("}}\n");
    return 0;
}

static int one_of(const char *const *names, const char *name) {
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) return i;
    fprintf(stderr, "loadgen: what is %s?\n", name);
    exit(2);
}

static void read_options(int argc, char **argv) {
    static const char *const options[] = {"--kind", "--mode", "--proxy", "--origin", "--conns", "--keepalive", "--size",
                                          "--seconds", "--warmup", "--host", "--fresh", NULL};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        switch (one_of(options, argv[i])) {
        case 0: kind = one_of(KINDS, value); break;
        case 1: mode = one_of(MODES, value); break;
        case 2: proxy_port = atoi(value); break;
        case 3: origin_port = atoi(value); break;
        case 4: conn_count = atoi(value); break;
        case 5: keepalive = atoi(value); break;
        case 6: size = atoi(value); break;
        case 7: seconds = atof(value); break;
        case 8: warmup = atof(value); break;
        case 9: host = value; break;
        case 10: fresh = value; break;
        }
    }
    if (conn_count < 1 || conn_count > 20000 || size < 1 || size > 1000 || strlen(host) > 200 ||
        (fresh && strlen(fresh) > 200) || (kind == HTTP && mode >= MESSAGES))
        exit(2);
}

int main(int argc, char **argv) {
    int file;
    struct rlimit files;
    struct epoll_event events[1024];
    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    pattern = make_pattern(&file);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc(conn_count, sizeof *conns);
    for (int i = 0; i < conn_count; i++) conns[i].index = i, conns[i].fd = -1;
    measured_from = now() + (mode == GET ? warmup : 0);
    ends_at = measured_from + (mode == GET ? seconds : SETUP_S);
    for (double at = now(); at < ends_at || (at < ends_at + GRACE_S && !(whole || bytes || failure_count)); at = now()) {
        while (next_conn < conn_count && opening < OPENING_MAX) start(&conns[next_conn++]);
        if (mode != GET && !going && next_conn == conn_count && open_count + failure_count >= (uint64_t)conn_count) go();
        if (mode == HOLD && going && whole + failure_count >= (uint64_t)conn_count) break;
        if (going && !open_count) break;
        int count = epoll_wait(epoll, events, 1024, ends_at - now() < 0.1 ? 1 : 100);
        for (int i = 0; i < count; i++) on_event(&conns[events[i].data.u32], events[i].events);
    }
    return report();
}
