/* CrowdTwist and Siebel in one process that costs next to nothing: what a benchmark calls instead of them.
 *
 * One thread, epoll, HTTP/1.1 with keep-alive, bodies with a Content-Length.  Nothing is judged, neither credentials nor
 * fields; what was sent is echoed in the form in which the real systems answer, so that a client that reads its answers
 * is content.  Member 296-1 has the Siebel row 1-296-1.
 *
 *   POST /v2/users                              {"id": N, ...what was sent}
 *   PUT  /v2/users/NUMBER, GET                  the same; 404 page_not_found for a number that was never posted
 *   PUT  /siebel/v1.0/data/A/B/ROW              {"items": {"Id": ROW, ...what was sent}}
 *   PUT  /siebel/v1.0/data/A/B                  what was sent, an array of rows
 *   GET  /siebel/v1.0/data/A/B?searchspec=...   {"items": [{"Id": "1-NUMBER", "Member Number": NUMBER}]}
 *   GET  /_stub/counts                          calls by kind, rows, CPU and times
 *   GET  /_stub/row/ROW                         {"writes": N, "at": seconds since 1970 of its last status}
 *   GET  /_stub/slots                           calls to CrowdTwist in each 10 ms since the reset
 *   PUT  /_stub/latency/MS                      every later answer takes that long, without costing anything
 *   PUT  /_stub/reset                           forget users, rows and counts
 *
 * Usage: stub PORT.  Run by tests/bench/stub/__init__.py.
 */
#include "stub.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 256
#define READ_AT_ONCE 65536
#define BODY_MAX (16u << 20)

struct connection {
    int fd;
    int waits;     /* an answer of it is on the timer */
    int closes;    /* after the answer */
    int wants_out; /* epoll tells when it can be written to */
    struct buffer in, out;
    size_t sent;
};

struct timer {
    double due;
    uint64_t order;
    struct connection *connection;
};

static struct timer *timers;
static size_t timer_count, timer_room;
static uint64_t timer_order;
static int poller;
static struct connection *gone[EVENTS_AT_ONCE]; /* freed after the events in hand: one of them may name it */
static size_t gone_count;

/* --- the timer: a heap by the time an answer is due --------------------------------------------------------------- */

static int is_earlier(const struct timer *one, const struct timer *other) {
    return one->due < other->due || (one->due == other->due && one->order < other->order);
}

static void swap(size_t one, size_t other) {
    struct timer kept = timers[one];
    timers[one] = timers[other];
    timers[other] = kept;
}

static void delay(struct connection *connection) {
    if (timer_count == timer_room) {
        timer_room = timer_room ? 2 * timer_room : 1024;
        timers = checked(realloc(timers, timer_room * sizeof *timers));
    }
    size_t at = timer_count++;
    timers[at] = (struct timer){now(CLOCK_MONOTONIC) + latency_s(), timer_order++, connection};
    connection->waits = 1;
    while (at && is_earlier(&timers[at], &timers[(at - 1) / 2])) {
        swap(at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static struct connection *next_due(double at) {
    if (timer_count == 0 || timers[0].due > at) return NULL;
    struct connection *connection = timers[0].connection;
    timers[0] = timers[--timer_count];
    for (size_t from = 0;;) {
        size_t least = from, left = 2 * from + 1, right = left + 1;
        if (left < timer_count && is_earlier(&timers[left], &timers[least])) least = left;
        if (right < timer_count && is_earlier(&timers[right], &timers[least])) least = right;
        if (least == from) break;
        swap(from, least);
        from = least;
    }
    return connection;
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void hang_up(struct connection *connection) {
    if (connection->fd >= 0) close(connection->fd);
    connection->fd = -1;
    if (!connection->waits && gone_count < EVENTS_AT_ONCE) gone[gone_count++] = connection;
}

static void release_gone(void) {
    while (gone_count) {
        struct connection *connection = gone[--gone_count];
        free(connection->in.bytes);
        free(connection->out.bytes);
        free(connection);
    }
}

static void watch(struct connection *connection, int operation, int wants_out) {
    struct epoll_event event = {.events = EPOLLIN | (wants_out ? EPOLLOUT : 0), .data.ptr = connection};
    epoll_ctl(poller, operation, connection->fd, &event);
    connection->wants_out = wants_out;
}

static void flush(struct connection *connection) {
    while (connection->sent < connection->out.length) {
        ssize_t sent = write(connection->fd, connection->out.bytes + connection->sent,
                             connection->out.length - connection->sent);
        if (sent < 0 && errno == EAGAIN) {
            if (!connection->wants_out) watch(connection, EPOLL_CTL_MOD, 1);
            return;
        }
        if (sent < 0) {
            hang_up(connection);
            return;
        }
        connection->sent += (size_t)sent;
    }
    connection->sent = connection->out.length = 0;
    if (connection->wants_out) watch(connection, EPOLL_CTL_MOD, 0);
    if (connection->closes) hang_up(connection);
}

static void reply(struct connection *to, char method, struct text target, struct text body) {
    char head[128];
    int status;
    struct text answer = answer_to(method, target, body, &status);
    append(&to->out, head,
           (size_t)snprintf(head, sizeof head,
                            "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", status,
                            status == 200 ? "OK" : status == 404 ? "Not Found" : "Bad Request", answer.length,
                            to->closes ? "Connection: close\r\n" : ""));
    append(&to->out, answer.at, answer.length);
}

/* Take one request from what was read: its length, 0 if it is not whole yet, -1 if it is none. */
static ssize_t take_request(struct connection *from) {
    struct text in = {from->in.bytes, from->in.length};
    const char *end = in.length ? memmem(in.at, in.length, "\r\n\r\n", 4) : NULL;
    if (end == NULL) return in.length > READ_AT_ONCE ? -1 : 0;
    size_t head = (size_t)(end - in.at) + 4, body = 0;
    const char *line_end = memmem(in.at, head, "\r\n", 2);
    const char *opens = memchr(in.at, ' ', (size_t)(line_end - in.at));
    const char *closes = opens ? memchr(opens + 1, ' ', (size_t)(line_end - opens - 1)) : NULL;
    if (closes == NULL || opens - in.at < 2) return -1;
    for (const char *line = line_end + 2; line < end; line = memmem(line, (size_t)(end + 2 - line), "\r\n", 2) + 2) {
        if (strncasecmp(line, "content-length:", 15) == 0) body = strtoul(line + 15, NULL, 10);
        else if (strncasecmp(line, "transfer-encoding:", 18) == 0) return -1;
        else if (strncasecmp(line, "connection: close", 17) == 0) from->closes = 1;
    }
    if (body > BODY_MAX) return -1;
    if (in.length < head + body) return 0;
    struct text target = {opens + 1, (size_t)(closes - opens - 1)};
    reply(from, in.at[1], target, (struct text){in.at + head, body});
    if (latency_s() > 0 && !is_control(target)) delay(from);
    return (ssize_t)(head + body);
}

/* Answer what is there, one after the other: the next only when the one before was sent. */
static void serve(struct connection *connection) {
    size_t taken = 0;
    while (!connection->waits && !connection->closes && connection->fd >= 0) {
        ssize_t length = take_request(connection);
        if (length < 0) {
            count_refused();
            hang_up(connection);
            return;
        }
        if (length == 0) break;
        taken = (size_t)length;
        memmove(connection->in.bytes, connection->in.bytes + taken, connection->in.length - taken);
        connection->in.length -= taken;
    }
    if (!connection->waits && connection->fd >= 0 && connection->out.length) flush(connection);
}

static void read_from(struct connection *connection) {
    for (;;) {
        reserve(&connection->in, READ_AT_ONCE);
        size_t room = connection->in.room - connection->in.length;
        ssize_t got = read(connection->fd, connection->in.bytes + connection->in.length, room);
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0) {
            hang_up(connection);
            return;
        }
        connection->in.length += (size_t)got;
        if ((size_t)got < room) break; /* all there was: one system call less */
    }
    serve(connection);
}

static void admit(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *connection = checked(calloc(1, sizeof *connection));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connection->fd = fd;
        count_connection();
        watch(connection, EPOLL_CTL_ADD, 0);
    }
}

static int listening(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096)) {
        perror("stub: cannot listen");
        exit(1);
    }
    return fd;
}

static int wait_ms(void) {
    if (timer_count == 0) return -1;
    double left_s = timers[0].due - now(CLOCK_MONOTONIC);
    return left_s <= 0 ? 0 : (int)(left_s * 1e3) + 1;
}

int main(int count, char **arguments) {
    static struct epoll_event events[EVENTS_AT_ONCE];
    if (count != 2) {
        fputs("usage: stub PORT\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    reset();
    poller = epoll_create1(0);
    int listener = listening(atoi(arguments[1]));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS_AT_ONCE, wait_ms());
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL) admit(listener);
            else if (connection->fd < 0) continue;
            else if (events[i].events & EPOLLIN) read_from(connection);
            else if (events[i].events & EPOLLOUT) serve(connection);
            else hang_up(connection);
        }
        release_gone();
        double at = timer_count ? now(CLOCK_MONOTONIC) : 0;
        for (struct connection *due; (due = next_due(at)) != NULL;) {
            due->waits = 0;
            if (due->fd < 0) hang_up(due);
            else {
                flush(due);
                if (due->fd >= 0) serve(due);
            }
            if (gone_count == EVENTS_AT_ONCE) release_gone();
        }
        release_gone();
    }
}
