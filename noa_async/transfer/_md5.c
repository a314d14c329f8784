/* MD5 of several streams at once: four of them take little longer than one.

   Each step of MD5 waits for the step before it, so one stream leaves most of a processor idle.
   Where more than two streams are fed, bytes are copied, and wait until those of four can be hashed
   together, in the lanes of vector registers; a stream that has no more room, or is to tell its
   hash, waits for no others.
   There are no threads but the callers': whoever finds four waiting hashes for all of them.

   The algorithm is RFC 1321's. Where this is not built, hashlib takes its place. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "for little-endian processors"
#endif

#define BLOCK 64
#define LANES 4
#define FEW 3 /* streams: fewer gain nothing by being hashed together */
#define SLICE (64 << 10) /* bytes of each lane, after which others may join in */
#define RING (4 << 20) /* bytes of a stream that can wait: what comes before its thread has to */
#define WORTH (128 << 10) /* bytes: fewer are hashed at once, sooner than they would be copied */

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));

/* Blocks. */

#define F(b, c, d) ((((c) ^ (d)) & (b)) ^ (d))
#define G(b, c, d) (((d) & (b)) + (~(d) & (c)))
#define H(b, c, d) ((b) ^ ((c) ^ (d)))
#define I(b, c, d) ((c) ^ ((b) | ~(d)))

#define STEP(f, a, b, c, d, word, constant, by) \
    a += word + constant##u + f(b, c, d); \
    a = (a << by | a >> (32 - by)) + b;

#define ROUND_STEPS(f, s0, s1, s2, s3, w0, w1, w2, w3, k0, k1, k2, k3) \
    STEP(f, a, b, c, d, WORD(w0), k0, s0) \
    STEP(f, d, a, b, c, WORD(w1), k1, s1) \
    STEP(f, c, d, a, b, WORD(w2), k2, s2) \
    STEP(f, b, c, d, a, WORD(w3), k3, s3)

#define ROUND_1(...) ROUND_STEPS(F, 7, 12, 17, 22, __VA_ARGS__)
#define ROUND_2(...) ROUND_STEPS(G, 5, 9, 14, 20, __VA_ARGS__)
#define ROUND_3(...) ROUND_STEPS(H, 4, 11, 16, 23, __VA_ARGS__)
#define ROUND_4(...) ROUND_STEPS(I, 6, 10, 15, 21, __VA_ARGS__)

#define ALL_STEPS \
    ROUND_1(0, 1, 2, 3, 0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee) \
    ROUND_1(4, 5, 6, 7, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501) \
    ROUND_1(8, 9, 10, 11, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be) \
    ROUND_1(12, 13, 14, 15, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821) \
    ROUND_2(1, 6, 11, 0, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa) \
    ROUND_2(5, 10, 15, 4, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8) \
    ROUND_2(9, 14, 3, 8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed) \
    ROUND_2(13, 2, 7, 12, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a) \
    ROUND_3(5, 8, 11, 14, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c) \
    ROUND_3(1, 4, 7, 10, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70) \
    ROUND_3(13, 0, 3, 6, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05) \
    ROUND_3(9, 12, 15, 2, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665) \
    ROUND_4(0, 7, 14, 5, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039) \
    ROUND_4(12, 3, 10, 1, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1) \
    ROUND_4(8, 15, 6, 13, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1) \
    ROUND_4(4, 11, 2, 9, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391)

static void
hash_one(uint32_t *state, const uint8_t *data, size_t blocks)
{
    for (; blocks; blocks--, data += BLOCK) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3], words[16];
        memcpy(words, data, BLOCK);
#define WORD(i) words[i]
        ALL_STEPS
#undef WORD
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    }
}

/* `words`: four of each lane come in, and leave as the lanes of one word each. */
static inline void
transpose(lanes *words)
{
    lanes low01 = __builtin_shuffle(words[0], words[1], (lanes){0, 4, 1, 5});
    lanes high01 = __builtin_shuffle(words[0], words[1], (lanes){2, 6, 3, 7});
    lanes low23 = __builtin_shuffle(words[2], words[3], (lanes){0, 4, 1, 5});
    lanes high23 = __builtin_shuffle(words[2], words[3], (lanes){2, 6, 3, 7});
    words[0] = __builtin_shuffle(low01, low23, (lanes){0, 1, 4, 5});
    words[1] = __builtin_shuffle(low01, low23, (lanes){2, 3, 6, 7});
    words[2] = __builtin_shuffle(high01, high23, (lanes){0, 1, 4, 5});
    words[3] = __builtin_shuffle(high01, high23, (lanes){2, 3, 6, 7});
}

static void
hash_lanes(uint32_t *const states[LANES], const uint8_t *const data[LANES], size_t blocks)
{
    lanes all[4];
    for (int lane = 0; lane < LANES; lane++)
        memcpy(&all[lane], states[lane], sizeof all[lane]);
    transpose(all);
    for (size_t at = 0; at < blocks * BLOCK; at += BLOCK) {
        lanes a = all[0], b = all[1], c = all[2], d = all[3], words[16];
        for (int word = 0; word < 16; word += 4) {
            for (int lane = 0; lane < LANES; lane++)
                memcpy(&words[word + lane], data[lane] + at + 4 * word, sizeof *words);
            transpose(words + word);
        }
#define WORD(i) words[i]
        ALL_STEPS
#undef WORD
        all[0] += a, all[1] += b, all[2] += c, all[3] += d;
    }
    transpose(all);
    for (int lane = 0; lane < LANES; lane++)
        memcpy(states[lane], &all[lane], sizeof all[lane]);
}

/* Streams, and what of them waits. */

typedef struct Stream {
    uint32_t state[4];
    uint8_t *ring;
    size_t filled, hashed; /* bytes that ever came into the ring, and left it */
    pthread_cond_t changed;
    struct Stream *next;
    int fed; /* whether large pieces came, and nobody has asked for the hash since */
} Stream;

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER; /* of all that follows, and of streams */
static Stream *first, **last = &first; /* those that wait, and that nobody hashes now */
static int waiting, fed;

/* Whether a stream that a large piece comes for is one of enough to be hashed together. */
static int
in_company(Stream *stream)
{
    pthread_mutex_lock(&guard);
    fed += !stream->fed;
    stream->fed = 1;
    int enough = fed >= FEW;
    pthread_mutex_unlock(&guard);
    if (enough && !stream->ring)
        stream->ring = malloc(RING);
    return enough && stream->ring;
}

/* The guard is held. */
static void
leave(Stream *stream)
{
    fed -= stream->fed;
    stream->fed = 0;
}

static void
append(Stream *stream)
{
    stream->next = NULL;
    *last = stream;
    last = &stream->next;
    waiting++;
}

static Stream *
take(void)
{
    Stream *stream = first;
    if (!(first = stream->next))
        last = &first;
    waiting--;
    return stream;
}

static size_t
smaller(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* Hash a slice of the first that wait: there is one. The guard is let go meanwhile. */
static void
hash_slice(void)
{
    Stream *streams[LANES];
    const uint8_t *data[LANES];
    uint32_t unused[LANES][4] = {{0}}, *states[LANES];
    size_t length = SLICE;
    int used = waiting < FEW ? 1 : waiting < LANES ? waiting : LANES;
    for (int lane = 0; lane < LANES; lane++) {
        Stream *stream = streams[lane] = lane < used ? take() : streams[0];
        size_t at = stream->hashed % RING;
        length = smaller(length, smaller(stream->filled - stream->hashed, RING - at));
        data[lane] = stream->ring + at;
        states[lane] = lane < used ? stream->state : unused[lane];
    }
    pthread_mutex_unlock(&guard);
    if (used == 1)
        hash_one(states[0], data[0], length / BLOCK);
    else
        hash_lanes(states, data, length / BLOCK);
    pthread_mutex_lock(&guard);
    for (int lane = 0; lane < used; lane++) {
        streams[lane]->hashed += length;
        if (streams[lane]->hashed < streams[lane]->filled)
            append(streams[lane]);
        pthread_cond_signal(&streams[lane]->changed);
    }
}

/* Have at most so many bytes of a stream wait. The guard is held, and let go meanwhile. */
static void
shorten(Stream *stream, size_t most)
{
    while (stream->filled - stream->hashed > most)
        if (first)
            hash_slice();
        else /* another thread hashes it */
            pthread_cond_wait(&stream->changed, &guard);
}

static void
finish(Stream *stream)
{
    pthread_mutex_lock(&guard);
    shorten(stream, 0);
    pthread_mutex_unlock(&guard);
}

static void
part_company(Stream *stream)
{
    finish(stream);
    pthread_mutex_lock(&guard);
    leave(stream);
    pthread_mutex_unlock(&guard);
}

/* Whether bytes of a stream do: where none do, none come but by its own thread. */
static int
waits(Stream *stream)
{
    pthread_mutex_lock(&guard);
    int some = stream->filled > stream->hashed;
    pthread_mutex_unlock(&guard);
    return some;
}

/* Have whole blocks wait; at the end, unless they make four streams that do. */
static void
put(Stream *stream, const uint8_t *data, size_t length)
{
    pthread_mutex_lock(&guard);
    while (length) {
        if (stream->filled == stream->hashed)
            stream->filled = stream->hashed = 0; /* memory that was used before */
        size_t at = stream->filled % RING, some = smaller(length, smaller(SLICE, RING - at));
        shorten(stream, RING - some);
        pthread_mutex_unlock(&guard);
        memcpy(stream->ring + at, data, some);
        data += some, length -= some;
        pthread_mutex_lock(&guard);
        if (stream->filled == stream->hashed)
            append(stream);
        stream->filled += some;
    }
    while (waiting >= LANES && stream->filled > stream->hashed)
        hash_slice();
    pthread_mutex_unlock(&guard);
}

/* Around a fork, so that the child finds the guard free. */

static void
lock(void)
{
    pthread_mutex_lock(&guard);
}

static void
unlock(void)
{
    pthread_mutex_unlock(&guard);
}

static void
watch_forks(void)
{
    pthread_atfork(lock, unlock, unlock);
}

/* The Python object. */

typedef struct {
    PyObject_HEAD
    Stream stream;
    uint64_t length;     /* bytes so far */
    uint8_t rest[BLOCK]; /* those behind the last whole block */
    int in_use;          /* by a thread that has let go of the interpreter's lock */
} MD5;

/* Hash `data` behind what came before, sooner or later; all of it where there is none. */
static void
feed(MD5 *self, const uint8_t *data, size_t length)
{
    Stream *stream = &self->stream;
    size_t kept = self->length % BLOCK;
    self->length += length;
    if (!length) {
        part_company(stream);
        return;
    }
    if (kept) {
        size_t some = smaller(length, BLOCK - kept);
        memcpy(self->rest + kept, data, some);
        data += some, length -= some;
        if (kept + some < BLOCK)
            return;
        if (waits(stream))
            put(stream, self->rest, BLOCK);
        else
            hash_one(stream->state, self->rest, 1);
    }
    size_t whole = length / BLOCK * BLOCK;
    if (whole >= WORTH && in_company(stream))
        put(stream, data, whole);
    else if (whole) {
        finish(stream);
        hash_one(stream->state, data, whole / BLOCK);
    }
    memcpy(self->rest, data + whole, length - whole);
}

/* Feed it, the interpreter's lock let go. */
static int
use(MD5 *self, const uint8_t *data, size_t length)
{
    if (self->in_use) {
        PyErr_SetString(PyExc_RuntimeError, "another thread uses this hash");
        return -1;
    }
    self->in_use = 1;
    Py_BEGIN_ALLOW_THREADS
    feed(self, data, length);
    Py_END_ALLOW_THREADS
    self->in_use = 0;
    return 0;
}

/* Hash all that waits; where nothing does, threads may be here together, as `copy` of an empty one. */
static int
settle(MD5 *self)
{
    pthread_mutex_lock(&guard);
    int settled = !self->in_use && self->stream.filled == self->stream.hashed;
    if (settled)
        leave(&self->stream);
    pthread_mutex_unlock(&guard);
    return settled ? 0 : use(self, NULL, 0);
}

static PyObject *
md5_update(PyObject *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    int failed = use((MD5 *)self, view.buf, (size_t)view.len) < 0;
    PyBuffer_Release(&view);
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyObject *
md5_hexdigest(PyObject *self, PyObject *Py_UNUSED(none))
{
    static const uint8_t padding[BLOCK] = {0x80};
    if (settle((MD5 *)self) < 0)
        return NULL;
    MD5 end = *(MD5 *)self; /* nothing of it waits, and too little comes for that */
    uint64_t bits = end.length * 8;
    feed(&end, padding, BLOCK - (end.length + sizeof bits) % BLOCK);
    feed(&end, (uint8_t *)&bits, sizeof bits);
    const uint8_t *digest = (uint8_t *)end.stream.state;
    char text[32];
    for (int i = 0; i < 32; i++)
        text[i] = "0123456789abcdef"[digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
    return PyUnicode_FromStringAndSize(text, sizeof text);
}

static PyObject *
md5_new(PyTypeObject *type, PyObject *Py_UNUSED(arguments), PyObject *Py_UNUSED(keywords))
{
    static const uint32_t start[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    MD5 *self = PyObject_New(MD5, type);
    if (self) {
        memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
        memcpy(self->stream.state, start, sizeof start);
        pthread_cond_init(&self->stream.changed, NULL);
    }
    return (PyObject *)self;
}

static PyObject *
md5_copy(PyObject *object, PyObject *Py_UNUSED(none))
{
    MD5 *self = (MD5 *)object;
    if (settle(self) < 0)
        return NULL;
    MD5 *copy = (MD5 *)md5_new(Py_TYPE(object), NULL, NULL);
    if (copy) {
        memcpy(copy->stream.state, self->stream.state, sizeof copy->stream.state);
        memcpy(copy->rest, self->rest, sizeof copy->rest);
        copy->length = self->length;
    }
    return (PyObject *)copy;
}

static void
md5_dealloc(PyObject *object)
{
    MD5 *self = (MD5 *)object;
    PyTypeObject *type = Py_TYPE(object);
    part_company(&self->stream);
    pthread_cond_destroy(&self->stream.changed);
    free(self->stream.ring);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"update", md5_update, METH_O, "Hash these bytes behind those before."},
    {"hexdigest", md5_hexdigest, METH_NOARGS, "The hash of all bytes so far, hexadecimal."},
    {"copy", md5_copy, METH_NOARGS, "Another one, as far as this."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "An MD5 that takes bytes as they come, from one thread at a time."},
    {Py_tp_new, md5_new},
    {Py_tp_dealloc, md5_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec type_spec = {
    "noa_async.transfer._md5.MD5", sizeof(MD5), 0, Py_TPFLAGS_DEFAULT, type_slots,
};

static int
fill(PyObject *module)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* a module may be filled twice */
    pthread_once(&once, watch_forks);
    PyObject *type = PyType_FromSpec(&type_spec);
    int failed = !type || PyModule_AddObjectRef(module, "MD5", type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_md5", NULL, 0, NULL, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__md5(void)
{
    return PyModuleDef_Init(&definition);
}
