/* What the two halves of the stub share: texts, buffers, and the one way from a request to its answer. */
#ifndef STUB_H
#define STUB_H
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct text {
    const char *at;
    size_t length;
};

struct buffer {
    char *bytes;
    size_t length, room;
};

static inline void *checked(void *memory) {
    if (memory == NULL) {
        fputs("stub: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static inline double now(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static inline double cpu_s(void) { return now(CLOCK_PROCESS_CPUTIME_ID); }

static inline void reserve(struct buffer *to, size_t more) {
    if (to->length + more <= to->room) return;
    to->room = (to->length + more) * 2;
    to->bytes = checked(realloc(to->bytes, to->room));
}

static inline void append(struct buffer *to, const char *bytes, size_t length) {
    reserve(to, length);
    memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
}

static inline void append_text(struct buffer *to, const char *text) { append(to, text, strlen(text)); }

static inline void append_number(struct buffer *to, uint64_t number) {
    char digits[24];
    append(to, digits, (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)number));
}

static inline int starts(struct text text, const char *with) {
    size_t length = strlen(with);
    return text.length >= length && memcmp(text.at, with, length) == 0;
}

static inline struct text without(struct text text, size_t first) { return (struct text){text.at + first, text.length - first}; }

/* In answers.c.  METHOD is the second letter of the method: O, U or E of POST, PUT and GET. */
struct text answer_to(char method, struct text target, struct text body, int *status); /* good until the next call */
int is_control(struct text target);
double latency_s(void);
void count_connection(void);
void count_refused(void);
void reset(void);

#endif
