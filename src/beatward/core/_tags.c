/* Tags of many records in one call: HMAC-SHA256 under a key per node, cut to 16 bytes.

   HMAC hashes a block of padded key before the message, once for the inner and once for the outer
   hash. Those two blocks are the same for every record of a node, so what SHA-256 has become after
   them, its "midstates", is computed once a key. A record's body is 48 bytes and fits one block
   with SHA-256's own padding. That leaves two compressions a record, and nothing else:

       inner = compress(midstate 0, body     80 00 00 ... bits of a block and 48 bytes)
       tag   = compress(midstate 1, inner    80 00 00 ... bits of a block and 32 bytes), cut

   Constants and rounds are those of FIPS 180-4, HMAC is RFC 2104. There are three ways to
   compress: the SHA instructions of x86, those of ARMv8, and plain C. Which of them this processor
   has is asked once, when the module is loaded. The same midstates serve all three.

   It is built for the limited API of Python 3.11, where the buffer protocol joined it: one file
   serves every later Python. Without it `core.tags` does the same in Python, and is the judge of
   whether this file is right: see tests/core/test_tags.py. Nothing here keeps state, allocates a
   record's worth of memory or looks at a secret in a way that its timing could tell. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define WITH_SHA_NI
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__aarch64__) && defined(__AARCH64EL__)
#if defined(__ARM_FEATURE_SHA2)
/* The compiler was told that every processor it compiles for has them; so it is on a Mac. */
#define WITH_ARMV8
#define TARGET_ARMV8
#elif defined(__linux__) && !defined(__clang__)
#define WITH_ARMV8
#define TARGET_ARMV8 __attribute__((target("+crypto")))
#include <sys/auxv.h>
#endif
#ifdef WITH_ARMV8
#include <arm_neon.h>
#endif
#endif

enum { KEY = 32, BLOCK = 64, STATE = 32, MIDSTATES = 2 * STATE };
enum { BODY = 48, TAG = 16, RECORD = BODY + TAG };

/* Below this many records the work takes less than asking for the interpreter again would, when
   another thread has taken it meanwhile and keeps it for its 5 ms. */
enum { RELEASE_FROM = 64 };

/* How many records ahead a node's midstates are fetched: with a million nodes each is a miss. */
enum { AHEAD = 8 };

static const uint32_t ROUND_CONSTANTS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t INITIAL_STATE[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

/* What follows the message in its block, as words: one bit, and the length of all in bits. */
#define END 0x80000000u
enum { INNER_BITS = 8 * (BLOCK + BODY), OUTER_BITS = 8 * (BLOCK + STATE) };
static const uint32_t INNER_PADDING[4] = {END, 0, 0, INNER_BITS};
static const uint32_t OUTER_PADDING[8] = {END, 0, 0, 0, 0, 0, 0, OUTER_BITS};

/* Writes the tag of `body` under `midstates` (as `prepare` makes them). */
typedef void tag_function(const uint8_t *midstates, const uint8_t *body, uint8_t *tag);

/* --- plain C ------------------------------------------------------------------------------- */

static uint32_t read_word(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void write_word(uint8_t *to, uint32_t word)
{
    to[0] = (uint8_t)(word >> 24);
    to[1] = (uint8_t)(word >> 16);
    to[2] = (uint8_t)(word >> 8);
    to[3] = (uint8_t)word;
}

#define TURN(x, n) ((x) >> (n) | (x) << (32 - (n)))

/* Two sums a round instead of eight moves: the caller turns the names of the words. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                          \
    do {                                                                                          \
        uint32_t sum = h + (TURN(e, 6) ^ TURN(e, 11) ^ TURN(e, 25)) + ((e & (f ^ g)) ^ g) +       \
                       ROUND_CONSTANTS[i] + words[(i) & 15];                                      \
        d += sum;                                                                                 \
        h = sum + (TURN(a, 2) ^ TURN(a, 13) ^ TURN(a, 22)) + ((a & b) | (c & (a | b)));           \
    } while (0)

/* `words` is the block and is used up: the schedule is written over it. */
static void compress(uint32_t state[8], uint32_t words[16])
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

    for (int i = 0; i < 64; i += 8) {
        for (int j = i; i >= 16 && j < i + 8; j++) {
            uint32_t early = words[(j + 1) & 15], late = words[(j + 14) & 15];
            words[j & 15] += (TURN(early, 7) ^ TURN(early, 18) ^ early >> 3) +
                             words[(j + 9) & 15] +
                             (TURN(late, 17) ^ TURN(late, 19) ^ late >> 10);
        }
        ROUND(a, b, c, d, e, f, g, h, i);
        ROUND(h, a, b, c, d, e, f, g, i + 1);
        ROUND(g, h, a, b, c, d, e, f, i + 2);
        ROUND(f, g, h, a, b, c, d, e, i + 3);
        ROUND(e, f, g, h, a, b, c, d, i + 4);
        ROUND(d, e, f, g, h, a, b, c, i + 5);
        ROUND(c, d, e, f, g, h, a, b, i + 6);
        ROUND(b, c, d, e, f, g, h, a, i + 7);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static void tag_scalar(const uint8_t *midstates, const uint8_t *body, uint8_t *tag)
{
    uint32_t state[8], words[16];

    memcpy(state, midstates, STATE);
    for (int i = 0; i < BODY / 4; i++)
        words[i] = read_word(body + 4 * i);
    memcpy(words + BODY / 4, INNER_PADDING, sizeof INNER_PADDING);
    compress(state, words);

    memcpy(words, state, STATE);
    memcpy(words + STATE / 4, OUTER_PADDING, sizeof OUTER_PADDING);
    memcpy(state, midstates + STATE, STATE);
    compress(state, words);
    for (int i = 0; i < TAG / 4; i++)
        write_word(tag + 4 * i, state[i]);
}

static void prepare(const uint8_t *key, uint8_t *midstates)
{
    static const uint8_t pads[2] = {0x36, 0x5c};

    for (int half = 0; half < 2; half++) {
        uint8_t block[BLOCK];
        uint32_t state[8], words[16];

        memset(block, pads[half], BLOCK);
        for (int i = 0; i < KEY; i++)
            block[i] ^= key[i];
        for (int i = 0; i < BLOCK / 4; i++)
            words[i] = read_word(block + 4 * i);
        memcpy(state, INITIAL_STATE, STATE);
        compress(state, words);
        memcpy(midstates + half * STATE, state, STATE);
    }
}

static int is_always_here(void)
{
    return 1;
}

/* --- x86 with SHA instructions ------------------------------------------------------------- */

#ifdef WITH_SHA_NI
#define TARGET_SHA_NI __attribute__((target("sha,sse4.1")))
#define LOAD(from) _mm_loadu_si128((const __m128i *)(const void *)(from))

/* Four rounds with the words in `w0`, which then become the ones sixteen further on. */
#define FOUR_ROUNDS(w0, w1, w2, w3, i)                                                            \
    do {                                                                                          \
        __m128i sum = _mm_add_epi32(w0, LOAD(ROUND_CONSTANTS + (i)));                             \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);                                            \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));                   \
        w0 = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));             \
        w0 = _mm_sha256msg2_epu32(w0, w3);                                                        \
    } while (0)

TARGET_SHA_NI static inline void compress_sha_ni(
    __m128i state[2], __m128i w0, __m128i w1, __m128i w2, __m128i w3)
{
    /* The instructions want the words in pairs, the first pair highest. */
    __m128i badc = _mm_shuffle_epi32(state[0], 0xb1), fehg = _mm_shuffle_epi32(state[1], 0xb1);
    __m128i abef = _mm_unpacklo_epi64(fehg, badc), cdgh = _mm_unpackhi_epi64(fehg, badc);

    for (int i = 0; i < 64; i += 16) {
        FOUR_ROUNDS(w0, w1, w2, w3, i);
        FOUR_ROUNDS(w1, w2, w3, w0, i + 4);
        FOUR_ROUNDS(w2, w3, w0, w1, i + 8);
        FOUR_ROUNDS(w3, w0, w1, w2, i + 12);
    }
    badc = _mm_unpackhi_epi64(abef, cdgh);
    fehg = _mm_unpacklo_epi64(abef, cdgh);
    state[0] = _mm_add_epi32(state[0], _mm_shuffle_epi32(badc, 0xb1));
    state[1] = _mm_add_epi32(state[1], _mm_shuffle_epi32(fehg, 0xb1));
}

TARGET_SHA_NI static void tag_sha_ni(const uint8_t *midstates, const uint8_t *body, uint8_t *tag)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i inner[2] = {LOAD(midstates), LOAD(midstates + 16)};
    __m128i outer[2] = {LOAD(midstates + STATE), LOAD(midstates + STATE + 16)};

    compress_sha_ni(
        inner, _mm_shuffle_epi8(LOAD(body), swap), _mm_shuffle_epi8(LOAD(body + 16), swap),
        _mm_shuffle_epi8(LOAD(body + 32), swap), LOAD(INNER_PADDING));
    compress_sha_ni(outer, inner[0], inner[1], LOAD(OUTER_PADDING), LOAD(OUTER_PADDING + 4));
    _mm_storeu_si128((__m128i *)(void *)tag, _mm_shuffle_epi8(outer[0], swap));
}

static int is_sha_ni_here(void)
{
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}
#endif

/* --- ARMv8 with SHA instructions ----------------------------------------------------------- */

#ifdef WITH_ARMV8
#define FOUR_ROUNDS(w0, w1, w2, w3, i)                                                            \
    do {                                                                                          \
        uint32x4_t sum = vaddq_u32(w0, vld1q_u32(ROUND_CONSTANTS + (i))), before = abcd;          \
        abcd = vsha256hq_u32(abcd, efgh, sum);                                                    \
        efgh = vsha256h2q_u32(efgh, before, sum);                                                 \
        w0 = vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3);                                    \
    } while (0)

TARGET_ARMV8 static inline void compress_armv8(
    uint32x4_t state[2], uint32x4_t w0, uint32x4_t w1, uint32x4_t w2, uint32x4_t w3)
{
    uint32x4_t abcd = state[0], efgh = state[1];

    for (int i = 0; i < 64; i += 16) {
        FOUR_ROUNDS(w0, w1, w2, w3, i);
        FOUR_ROUNDS(w1, w2, w3, w0, i + 4);
        FOUR_ROUNDS(w2, w3, w0, w1, i + 8);
        FOUR_ROUNDS(w3, w0, w1, w2, i + 12);
    }
    state[0] = vaddq_u32(state[0], abcd);
    state[1] = vaddq_u32(state[1], efgh);
}

TARGET_ARMV8 static inline uint32x4_t words_at(const uint8_t *from)
{
    return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(from)));
}

TARGET_ARMV8 static void tag_armv8(const uint8_t *midstates, const uint8_t *body, uint8_t *tag)
{
    uint32x4_t states[4];

    memcpy(states, midstates, sizeof states);
    compress_armv8(
        states, words_at(body), words_at(body + 16), words_at(body + 32),
        vld1q_u32(INNER_PADDING));
    compress_armv8(
        states + 2, states[0], states[1], vld1q_u32(OUTER_PADDING), vld1q_u32(OUTER_PADDING + 4));
    vst1q_u8(tag, vrev32q_u8(vreinterpretq_u8_u32(states[2])));
}

static int is_armv8_here(void)
{
#if defined(__ARM_FEATURE_SHA2)
    return 1;
#else
    return (getauxval(AT_HWCAP) & 1 << 6) != 0; /* HWCAP_SHA2 of the kernel's asm/hwcap.h */
#endif
}
#endif

/* --- which one ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    tag_function *tag;
    int (*is_here)(void);
} IMPLEMENTATIONS[] = {
#ifdef WITH_SHA_NI
    {"sha-ni", tag_sha_ni, is_sha_ni_here},
#endif
#ifdef WITH_ARMV8
    {"armv8", tag_armv8, is_armv8_here},
#endif
    {"scalar", tag_scalar, is_always_here},
};
enum { IMPLEMENTATIONS_COUNT = sizeof IMPLEMENTATIONS / sizeof *IMPLEMENTATIONS };

/* Asked once: in a virtual machine `cpuid` goes to the hypervisor, and that takes microseconds. */
static int is_usable[IMPLEMENTATIONS_COUNT];

/* Return the named implementation, or the fastest for NULL; NULL with an exception if there is
   none of that name. */
static tag_function *choose(const char *name)
{
    for (int i = 0; i < IMPLEMENTATIONS_COUNT; i++)
        if (is_usable[i] && (name == NULL || strcmp(name, IMPLEMENTATIONS[i].name) == 0))
            return IMPLEMENTATIONS[i].tag;
    PyErr_Format(PyExc_ValueError, "implementation: this processor has no '%s'", name);
    return NULL;
}

/* --- from and to Python -------------------------------------------------------------------- */

/* A batch of `count` records or bodies, `width` bytes each, and whose midstates they need. */
typedef struct {
    Py_buffer rows, slots, midstates;
    Py_ssize_t width, count, nodes_count;
    tag_function *tag;
} batch;

static int get_buffer(PyObject *from, Py_buffer *view, int flags, const char *name)
{
    if (PyObject_GetBuffer(from, view, PyBUF_STRIDES | flags) < 0)
        return -1;
    if (!PyBuffer_IsContiguous(view, 'C')) {
        PyErr_Format(PyExc_ValueError, "%s: expected contiguous memory", name);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

/* As above, and return how many rows of `width` bytes it holds; -1 with an exception. */
static Py_ssize_t get_rows(PyObject *from, Py_buffer *view, Py_ssize_t width, const char *name)
{
    if (get_buffer(from, view, 0, name) < 0)
        return -1;
    if (view->len % width != 0) {
        PyErr_Format(
            PyExc_ValueError, "%s: expected a multiple of %zd bytes, found %zd", name, width,
            view->len);
        PyBuffer_Release(view);
        return -1;
    }
    return view->len / width;
}

/* As above; other integers of the same length would be read as wrong numbers, so they are not. */
static Py_ssize_t get_slots(PyObject *from, Py_buffer *view)
{
    if (get_buffer(from, view, PyBUF_FORMAT, "slots") < 0)
        return -1;
    const char *format = view->format == NULL ? "B" : view->format;
    if (view->itemsize != 8 || (strcmp(format, "l") != 0 && strcmp(format, "q") != 0)) {
        PyErr_Format(
            PyExc_ValueError, "slots: expected integers of 64 bits ('q'), found '%s'", format);
        PyBuffer_Release(view);
        return -1;
    }
    return view->len / 8;
}

static void release(batch *from)
{
    PyBuffer_Release(&from->rows);
    PyBuffer_Release(&from->slots);
    PyBuffer_Release(&from->midstates);
}

static int get_batch(PyObject *arguments, const char *format, Py_ssize_t width, batch *to)
{
    PyObject *rows, *slots, *midstates;
    const char *name = NULL;

    memset(to, 0, sizeof *to); /* what was never filled may be released */
    if (!PyArg_ParseTuple(arguments, format, &rows, &slots, &midstates, &name))
        return -1;
    to->width = width;
    to->tag = choose(name);
    if (to->tag == NULL)
        return -1;
    to->count = get_rows(rows, &to->rows, width, width == BODY ? "bodies" : "records");
    Py_ssize_t slots_count = to->count < 0 ? -1 : get_slots(slots, &to->slots);
    to->nodes_count =
        slots_count < 0 ? -1 : get_rows(midstates, &to->midstates, MIDSTATES, "midstates");
    if (to->nodes_count >= 0 && slots_count == to->count)
        return 0;
    if (to->nodes_count >= 0)
        PyErr_Format(
            PyExc_ValueError, "slots: expected %zd, one a row, found %zd", to->count, slots_count);
    release(to);
    return -1;
}

/* Return the midstates of row i, or NULL where its slot is nobody's. */
static const uint8_t *midstates_of(const batch *from, Py_ssize_t i)
{
    int64_t slot;

    memcpy(&slot, (const uint8_t *)from->slots.buf + 8 * i, 8); /* it may lie unaligned */
    if (slot < 0 || slot >= from->nodes_count)
        return NULL;
    return (const uint8_t *)from->midstates.buf + MIDSTATES * slot;
}

/* Write row i's tag; returns 0 and writes nothing where its slot is nobody's. */
static int tag_row(const batch *from, Py_ssize_t i, uint8_t *tag)
{
    const uint8_t *midstates = midstates_of(from, i);

#ifdef __GNUC__
    if (i + AHEAD < from->count)
        __builtin_prefetch(midstates_of(from, i + AHEAD)); /* of NULL it does nothing */
#endif
    if (midstates == NULL)
        return 0;
    from->tag(midstates, (const uint8_t *)from->rows.buf + from->width * i, tag);
    return 1;
}

static void verify_rows(const batch *from, uint8_t *mask)
{
    for (Py_ssize_t i = 0; i < from->count; i++) {
        const uint8_t *found = (const uint8_t *)from->rows.buf + RECORD * i + BODY;
        uint64_t expected_words[2], found_words[2];
        int is_known = tag_row(from, i, (uint8_t *)expected_words);

        memcpy(found_words, found, TAG);
        /* All 16 bytes at once: how long it takes does not tell how many were right. */
        mask[i] = is_known && ((expected_words[0] ^ found_words[0]) |
                               (expected_words[1] ^ found_words[1])) == 0;
    }
}

/* Return how many rows have a slot that is nobody's. */
static Py_ssize_t seal_rows(const batch *from, uint8_t *tags)
{
    Py_ssize_t unknown_count = 0;

    for (Py_ssize_t i = 0; i < from->count; i++)
        unknown_count += !tag_row(from, i, tags + TAG * i);
    return unknown_count;
}

static PyObject *verify(PyObject *module, PyObject *arguments)
{
    batch from;

    if (get_batch(arguments, "OOO|z:verify", RECORD, &from) < 0)
        return NULL;
    PyObject *result = PyBytes_FromStringAndSize(NULL, from.count);
    if (result != NULL) {
        uint8_t *mask = (uint8_t *)PyBytes_AsString(result);
        PyThreadState *thread = from.count < RELEASE_FROM ? NULL : PyEval_SaveThread();
        verify_rows(&from, mask);
        if (thread != NULL)
            PyEval_RestoreThread(thread);
    }
    release(&from);
    return result;
}

static PyObject *seal(PyObject *module, PyObject *arguments)
{
    batch from;

    if (get_batch(arguments, "OOO|z:seal", BODY, &from) < 0)
        return NULL;
    PyObject *result = PyBytes_FromStringAndSize(NULL, from.count * TAG);
    if (result != NULL) {
        uint8_t *tags = (uint8_t *)PyBytes_AsString(result);
        PyThreadState *thread = from.count < RELEASE_FROM ? NULL : PyEval_SaveThread();
        Py_ssize_t unknown_count = seal_rows(&from, tags);
        if (thread != NULL)
            PyEval_RestoreThread(thread);
        if (unknown_count > 0) {
            PyErr_Format(
                PyExc_ValueError, "slots: %zd of %zd are outside of midstates", unknown_count,
                from.count);
            Py_DECREF(result);
            result = NULL;
        }
    }
    release(&from);
    return result;
}

static PyObject *midstates(PyObject *module, PyObject *keys)
{
    Py_buffer view;
    Py_ssize_t count = get_rows(keys, &view, KEY, "keys");

    if (count < 0)
        return NULL;
    PyObject *result = PyBytes_FromStringAndSize(NULL, count * MIDSTATES);
    if (result != NULL) {
        uint8_t *to = (uint8_t *)PyBytes_AsString(result);
        for (Py_ssize_t i = 0; i < count; i++)
            prepare((const uint8_t *)view.buf + KEY * i, to + MIDSTATES * i);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *implementations(PyObject *module, PyObject *nothing)
{
    PyObject *names = PyList_New(0);

    for (int i = 0; names != NULL && i < IMPLEMENTATIONS_COUNT; i++) {
        if (!is_usable[i])
            continue;
        PyObject *name = PyUnicode_FromString(IMPLEMENTATIONS[i].name);
        if (name == NULL || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    PyObject *result = names == NULL ? NULL : PyList_AsTuple(names);
    Py_XDECREF(names);
    return result;
}

static int begin(PyObject *module)
{
    for (int i = 0; i < IMPLEMENTATIONS_COUNT; i++)
        is_usable[i] = IMPLEMENTATIONS[i].is_here();
    return 0;
}

static PyMethodDef FUNCTIONS[] = {
    {"implementations", implementations, METH_NOARGS,
     PyDoc_STR("implementations()\n--\n\nName those this processor has, the fastest first.")},
    {"midstates", midstates, METH_O,
     PyDoc_STR("midstates(keys)\n--\n\nPrepare keys of 32 bytes; 64 bytes each.")},
    {"verify", verify, METH_VARARGS,
     PyDoc_STR("verify(records, slots, midstates, implementation=None)\n--\n\n"
               "Return a byte a record: 1 where its tag is right, 0 where not or nobody's.")},
    {"seal", seal, METH_VARARGS,
     PyDoc_STR("seal(bodies, slots, midstates, implementation=None)\n--\n\n"
               "Return the tags of bodies of 48 bytes; 16 bytes each.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, (void *)begin}, {0, NULL}};

static PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_tags",
    .m_doc = PyDoc_STR("Tags of many records in one call."),
    .m_methods = FUNCTIONS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__tags(void)
{
    return PyModuleDef_Init(&MODULE);
}
