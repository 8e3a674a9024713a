/* What CrowdTwist and Siebel answer, and what is counted of it; stub.c says which requests there are. */
#include "stub.h"

#define SLOT_S 0.01
#define SLOTS 360000 /* an hour of them */

struct entry {
    uint64_t key; /* 0: free */
    uint64_t number;
    double at;
};

struct table {
    struct entry *entries;
    size_t room, used;
};

static struct {
    uint64_t post, put, get, one, many, look_up, refused, rows, members, connections;
    double first_at, last_new_at;
} counted;

static struct table users, rows;
static double latency, reset_at, cpu_at_reset;
static uint32_t slots[SLOTS];
static size_t slots_used;
static struct buffer answer; /* the one in the making */

double latency_s(void) { return latency; }
void count_connection(void) { counted.connections++; }
void count_refused(void) { counted.refused++; }

/* --- who was posted, which rows were written ---------------------------------------------------------------------- */

static uint64_t hash_of(struct text text) { /* FNV-1a: of a million keys two are alike once in thirty million runs */
    uint64_t hash = 14695981039346656037ull;
    for (size_t i = 0; i < text.length; i++) hash = (hash ^ (unsigned char)text.at[i]) * 1099511628211ull;
    return hash ? hash : 1;
}

static struct entry *place_of(struct table *table, uint64_t key) {
    size_t at = (key ^ (key >> 29)) & (table->room - 1);
    while (table->entries[at].key && table->entries[at].key != key) at = (at + 1) & (table->room - 1);
    return &table->entries[at];
}

static struct entry *found(struct table *table, struct text text) {
    if (table->room == 0) return NULL;
    struct entry *entry = place_of(table, hash_of(text));
    return entry->key ? entry : NULL;
}

static struct entry *held(struct table *table, struct text text) {
    if (2 * table->used >= table->room) {
        struct table larger = {NULL, table->room ? 2 * table->room : 1u << 16, table->used};
        larger.entries = checked(calloc(larger.room, sizeof *larger.entries));
        for (size_t i = 0; i < table->room; i++)
            if (table->entries[i].key) *place_of(&larger, table->entries[i].key) = table->entries[i];
        free(table->entries);
        *table = larger;
    }
    uint64_t key = hash_of(text);
    struct entry *entry = place_of(table, key);
    if (!entry->key) {
        entry->key = key;
        table->used++;
    }
    return entry;
}

static void emptied(struct table *table) {
    free(table->entries);
    *table = (struct table){0};
}

static void write_row(struct text row, double at) {
    struct entry *entry = held(&rows, row);
    counted.rows++;
    if (entry->number++ == 0) {
        counted.members++;
        counted.last_new_at = at;
    }
    entry->at = at;
}

static void count_call(double at) {
    size_t slot = (size_t)((at - reset_at) / SLOT_S);
    if (counted.first_at == 0) counted.first_at = at;
    if (slot < SLOTS) {
        slots[slot]++;
        if (slot >= slots_used) slots_used = slot + 1;
    }
}

void reset(void) {
    emptied(&users);
    emptied(&rows);
    memset(&counted, 0, sizeof counted);
    memset(slots, 0, SLOTS * sizeof *slots);
    slots_used = 0;
    reset_at = now(CLOCK_REALTIME);
    cpu_at_reset = cpu_s();
}
/* --- answers ------------------------------------------------------------------------------------------------------ */

static const char NO_USER[] = "{\"error\":\"page_not_found\",\"message\":\"User does not exist.\"}";
static const char NO_PAGE[] = "{\"error\":\"page_not_found\",\"message\":\"Page not found.\"}";
static const char NO_BODY[] = "{\"error\":\"input_error\",\"message\":\"The body is not what it should be.\"}";

static int is_plain(struct text text) { /* may stand between quotes as it is */
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.at[i] < 0x20 || text.at[i] == '"' || text.at[i] == '\\') return 0;
    return text.length > 0;
}

static struct text decoded(struct text text, char *into, size_t room) { /* percent-encoding undone; too long: empty */
    size_t length = 0;
    for (size_t i = 0; i < text.length && length < room; i++) {
        unsigned int byte = (unsigned char)text.at[i];
        if (byte == '%' && i + 2 < text.length && sscanf(text.at + i + 1, "%2x", &byte) == 1) i += 2;
        into[length++] = (char)byte;
    }
    return (struct text){into, length < room ? length : 0};
}

static struct text between_quotes(struct text text) { /* of `: "value"` */
    const char *opens = memchr(text.at, '"', text.length);
    if (opens == NULL) return (struct text){text.at, 0};
    struct text rest = without(text, (size_t)(opens + 1 - text.at));
    const char *closes = memchr(rest.at, '"', rest.length);
    return (struct text){rest.at, closes ? (size_t)(closes - rest.at) : 0};
}

static struct text value_of(struct text body, const char *quoted) { /* of a text member of an object; none: empty */
    const char *name = memmem(body.at, body.length, quoted, strlen(quoted));
    if (name == NULL) return (struct text){body.at, 0};
    return between_quotes(without(body, (size_t)(name - body.at) + strlen(quoted)));
}

static void merge(struct buffer *answer, struct text body) { /* the members of an object, after others */
    struct text members = without(body, 1);
    const char *more = memchr(members.at, '"', members.length);
    if (more != NULL) append_text(answer, ",");
    append(answer, members.at, members.length);
}

static int is_object(struct text body) { return body.length >= 2 && body.at[0] == '{' && body.at[body.length - 1] == '}'; }

static int user_of(struct buffer *answer, struct text number, struct text body, uint64_t id) {
    append_text(answer, "{\"id\":");
    append_number(answer, id);
    if (value_of(body, "\"third_party_id\"").length == 0) {
        append_text(answer, ",\"third_party_id\":\"");
        append(answer, number.at, number.length);
        append_text(answer, "\"");
    }
    merge(answer, body);
    return 200;
}

static int refused(struct buffer *answer, int status, const char *text) {
    counted.refused++;
    append_text(answer, text);
    return status;
}

static int crowdtwist(struct buffer *answer, char method, struct text path, struct text body, double at) {
    char room[512];
    count_call(at);
    if (method == 'O') { /* POST */
        struct text number = is_object(body) ? value_of(body, "\"third_party_id\"") : body;
        if (!is_object(body) || !is_plain(number)) return refused(answer, 400, NO_BODY);
        struct entry *user = held(&users, number);
        if (user->number == 0) user->number = 1000000 + users.used;
        counted.post++;
        return user_of(answer, number, body, user->number);
    }
    struct text number = decoded(starts(path, "/") ? without(path, 1) : (struct text){path.at, 0}, room, sizeof room);
    struct entry *user = found(&users, number);
    if (method == 'U') counted.put++;
    else counted.get++;
    if (user == NULL) {
        append_text(answer, NO_USER);
        return 404;
    }
    if (method == 'U' && !is_object(body)) return refused(answer, 400, NO_BODY);
    return user_of(answer, number, method == 'U' ? body : (struct text){"{}", 2}, user->number);
}

static int many(struct buffer *answer, struct text body, double at) {
    struct text rest = body;
    const char *name;
    if (body.length < 2 || body.at[0] != '[') return refused(answer, 400, NO_BODY);
    counted.many++;
    while ((name = memmem(rest.at, rest.length, "\"Id\"", 4)) != NULL) {
        rest = without(rest, (size_t)(name + 4 - rest.at));
        struct text row = between_quotes(rest);
        if (row.length) write_row(row, at);
    }
    append(answer, body.at, body.length);
    return 200;
}

static int siebel(struct buffer *answer, char method, struct text path, struct text query, struct text body, double at) {
    char room[512];
    const char *second = path.length ? memchr(path.at, '/', path.length) : NULL;
    const char *third = second ? memchr(second + 1, '/', (size_t)(path.at + path.length - second - 1)) : NULL;
    if (second == NULL) return refused(answer, 404, NO_PAGE);
    if (third == NULL && method == 'U') return many(answer, body, at);
    if (third != NULL) {
        struct text row = decoded(without(path, (size_t)(third + 1 - path.at)), room, sizeof room);
        if (!is_plain(row) || (method == 'U' && !is_object(body))) return refused(answer, 400, NO_BODY);
        append_text(answer, "{\"items\":{\"Id\":\"");
        append(answer, row.at, row.length);
        append_text(answer, "\"");
        if (method == 'U') {
            counted.one++;
            write_row(row, at);
            merge(answer, body);
        } else {
            counted.look_up++;
            append_text(answer, "}");
        }
        append_text(answer, "}");
        return 200;
    }
    struct text asked = decoded(query, room, sizeof room), number = {"0", 1};
    const char *opens = memchr(asked.at, '\'', asked.length);
    if (opens != NULL) {
        struct text rest = without(asked, (size_t)(opens + 1 - asked.at));
        const char *closes = memchr(rest.at, '\'', rest.length);
        number = (struct text){rest.at, closes ? (size_t)(closes - rest.at) : 0};
        if (!is_plain(number)) return refused(answer, 400, NO_BODY);
    }
    counted.look_up++;
    append_text(answer, "{\"items\":[{\"Id\":\"1-");
    append(answer, number.at, number.length);
    append_text(answer, "\",\"Member Number\":\"");
    append(answer, number.at, number.length);
    append_text(answer, "\"}]}");
    return 200;
}

static int control(struct buffer *answer, struct text path) {
    char text[1024];
    if (starts(path, "counts")) {
        snprintf(text, sizeof text,
                 "{\"crowdtwist_post\":%llu,\"crowdtwist_put\":%llu,\"crowdtwist_get\":%llu,\"siebel_put\":%llu,"
                 "\"siebel_put_many\":%llu,\"siebel_get\":%llu,\"refused\":%llu,\"rows\":%llu,\"members\":%llu,"
                 "\"connections\":%llu,\"cpu_s\":%.6f,\"reset_at\":%.6f,\"first_at\":%.6f,\"last_new_at\":%.6f}",
                 (unsigned long long)counted.post, (unsigned long long)counted.put, (unsigned long long)counted.get,
                 (unsigned long long)counted.one, (unsigned long long)counted.many, (unsigned long long)counted.look_up,
                 (unsigned long long)counted.refused, (unsigned long long)counted.rows,
                 (unsigned long long)counted.members, (unsigned long long)counted.connections, cpu_s() - cpu_at_reset,
                 reset_at, counted.first_at, counted.last_new_at);
    } else if (starts(path, "row/")) {
        struct text row = decoded(without(path, 4), text, sizeof text);
        struct entry *entry = found(&rows, row);
        snprintf(text, sizeof text, "{\"writes\":%llu,\"at\":%.6f}", (unsigned long long)(entry ? entry->number : 0),
                 entry ? entry->at : 0.0);
    } else if (starts(path, "slots")) {
        append_text(answer, "[");
        for (size_t i = 0; i < slots_used; i++) {
            if (i) append_text(answer, ",");
            append_number(answer, slots[i]);
        }
        append_text(answer, "]");
        return 200;
    } else if (starts(path, "latency/")) {
        snprintf(text, sizeof text, "%.*s", (int)(path.length - 8), path.at + 8);
        latency = strtod(text, NULL) / 1e3;
        snprintf(text, sizeof text, "{}");
    } else if (starts(path, "reset")) {
        reset();
        snprintf(text, sizeof text, "{}");
    } else {
        return refused(answer, 404, NO_PAGE);
    }
    append_text(answer, text);
    return 200;
}

int is_control(struct text target) { return starts(target, "/_stub/"); }

struct text answer_to(char method, struct text target, struct text body, int *status) {
    double at = now(CLOCK_REALTIME);
    const char *mark = memchr(target.at, '?', target.length);
    struct text path = {target.at, mark ? (size_t)(mark - target.at) : target.length};
    struct text query = mark ? without(target, path.length + 1) : (struct text){target.at, 0};
    answer.length = 0;
    if (starts(path, "/v2/users")) *status = crowdtwist(&answer, method, without(path, 9), body, at);
    else if (starts(path, "/siebel/v1.0/data/")) *status = siebel(&answer, method, without(path, 18), query, body, at);
    else if (is_control(path)) *status = control(&answer, without(path, 7));
    else *status = refused(&answer, 404, NO_PAGE);
    return (struct text){answer.bytes, answer.length};
}
