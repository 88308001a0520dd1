/* A CUDA driver without a GPU, for tests: device memory is host memory, and work is lazy.
 *
 * Nothing that is put into a stream runs before somebody waits for it, memory is full of NaN until
 * it is written, and every access is checked against what is allocated at that moment. So
 * mistakes that a fast GPU forgives most of the time fail here every time: reading before
 * synchronising, freeing memory that queued work still uses, rewriting a staging buffer too early,
 * replaying a graph whose addresses are gone. The first mistake is kept for sim_violation().
 *
 * Only what runtime/backends/cuda/device.py and cuda-python call is here. Single-threaded tests hold
 * the lock of the interpreter; a recursive mutex covers the others.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/backends/cuda/latents.cu" /* the kernel that draws latents, for the host */

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_HANDLE = 400,
       NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, CAPTURE_UNSUPPORTED = 900,
       CAPTURE_INVALIDATED = 901 };

typedef struct { uintptr_t at; size_t size; int write; } Range;
typedef int (*Kernel)(void *);
typedef enum { COPY, KERNEL, ALLOCATE, FREE, RECORD, WAIT } Kind;

struct Stream;
typedef struct Event { struct Stream *stream; uint64_t position; } Event;
typedef struct Op {
  Kind kind;
  uintptr_t to, from;
  size_t size;
  Kernel kernel;
  void *data;
  Range ranges[32];
  int n;
  Event *event;
  Event target; /* of a wait: the event as it stood then */
  uint64_t order;
  int device;       /* that the work runs on */
  void *executable; /* the graph that it belongs to */
  struct Op *next;
} Op;
typedef struct Graph { Op *first; } Graph;
typedef struct Stream { Op *first, *last; uint64_t queued, done; Graph *capture; int alive, mode, broken, device; pthread_t capturer; struct Stream *next; } Stream;
typedef struct Slot { Stream *stream; struct Slot *next; } Slot; /* what a stream's handle points at */
/* Stream-ordered memory: what is freed is kept up to the threshold, beyond it given back when somebody waits. */
typedef struct Pool { uint64_t threshold; size_t kept; int device; struct Pool *next; } Pool;
typedef struct Block { uintptr_t at; size_t size; int pinned, freed, promised, device, elsewhere; Pool *pool; struct Block *next; } Block; /* promised: its stream has not come to its allocation; elsewhere: of a context that is not the primary one */

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static Block *blocks;
static Stream *streams;
static Pool standard, *pools = &standard; /* the GPU's default pool, which keeps nothing */
static Stream legacy; /* stream 1: what others call the default one */
static Slot *idle; /* handles of destroyed streams, which the next ones get */
static __thread Stream *own; /* stream 2: each thread's own default one */
static char violation[512];
static size_t total = (size_t)1 << 30, used;
static int major = 8, minor = 9, devices = 1, version = 13000, calls_copy, calls_sync, calls_returned;
static uint64_t order;
static void *self;
static __thread void *current; /* each thread's own context, none at first */
static char failing[64]; /* the driver function that is to fail, with what, after how many calls */
static int failing_with, failing_after, sticky;
#define PRIMARY(device) ((void *)(0x10 + (uintptr_t)(device)))

/* The GPU whose primary context is the thread's; -1: another context, or none. */
static int device_here(void) {
  uintptr_t at = (uintptr_t)current - 0x10;
  return at < (uintptr_t)(devices > 0 ? devices : 1) ? (int)at : -1;
}

/* What a call returns before it does anything: a status that a test asked for, or 0. */
static int failure(const char *function) {
  if (sticky) return sticky;
  if (strcmp(function, failing) || failing_after-- > 0) return OK;
  failing[0] = 0;
  if (failing_with == ILLEGAL_ADDRESS) sticky = failing_with; /* the context is lost: all calls fail */
  return failing_with;
}
#define MAY_FAIL do { int asked = failure(__func__); if (asked) return asked; } while (0)

static void fault(const char *form, ...) {
  if (violation[0]) return;
  va_list args;
  va_start(args, form);
  vsnprintf(violation, sizeof violation, form, args);
  va_end(args);
}

/* What tests see and set. */
void sim_complain(const char *what) { fault("%s", what); }
const char *sim_violation(void) { return violation; }
void sim_reset(void) { violation[0] = failing[0] = 0; calls_copy = calls_sync = calls_returned = sticky = 0; }
/* Let a driver function return a status, after so many calls of it that succeed. */
void sim_fail(const char *function, int status, int after) {
  snprintf(failing, sizeof failing, "%s", function);
  failing_with = status;
  failing_after = after;
}
/* What a library that runs on this driver finds wrong. */
void sim_report(const char *what) { fault("%s", what); }
/* What an engine does to a capture that it cannot take part in. */
void sim_break_capture(void *stream);
void sim_machine(int count, int driver_version, size_t bytes) { devices = count; version = driver_version; total = bytes; }
void sim_capability(int a, int b) { major = a; minor = b; }
size_t sim_used(void) { return used; }
int sim_copies(void) { return calls_copy; }
int sim_waits(void) { return calls_sync; }
int sim_returned(void) { return calls_returned; }
size_t sim_pending(void) { size_t n = 0; for (Stream *s = streams; s; s = s->next) n += s->queued - s->done; return n; }

/* What is made, given back or launched belongs to a context, which must be the thread's then. */
void sim_needs_context(const char *what) {
  if (device_here() < 0) fault("%s while another context is current", what);
}

static Block *live(uintptr_t at, size_t size) {
  for (Block *b = blocks; b; b = b->next)
    if (!b->freed && at >= b->at && at + size <= b->at + b->size) return b;
  return NULL;
}

static int touch(uintptr_t at, size_t size, const char *what, int device) {
  Block *found = live(at, size);
  if (found) {
    if (found->promised) fault("%s uses memory of a pool before its stream allocates it", what);
    if (!found->pinned && device >= 0 && found->device != device) fault("%s uses memory of another GPU", what);
    return 1;
  }
  for (Block *b = blocks; b; b = b->next)
    if (b->freed && at >= b->at && at < b->at + b->size) {
      fault("%s uses memory that was freed: stale address", what);
      return 0;
    }
  fault("%s uses %zu bytes that are not allocated", what, size);
  return 0;
}

static Stream *new_stream(void) {
  Stream *s = calloc(1, sizeof *s);
  s->alive = 1;
  s->device = device_here() < 0 ? 0 : device_here();
  s->next = streams;
  streams = s;
  return s;
}

static Stream *stream_of(void *handle) {
  if ((uintptr_t)handle < 2) return &legacy;
  if ((uintptr_t)handle == 2) return own ? own : (own = new_stream());
  Stream *s = ((Slot *)handle)->stream;
  if (!s->alive) fault("a destroyed stream is used");
  return s;
}

static Op *push(void *handle, Op *op) {
  Stream *s = stream_of(handle);
  Op *made = malloc(sizeof *made);
  *made = *op;
  made->next = NULL;
  made->device = device_here();
  if (s != &legacy && made->device >= 0 && made->device != s->device) fault("a stream of another GPU is used");
  if (s->capture) {
    Op **end = &s->capture->first;
    while (*end) end = &(*end)->next;
    *end = made;
    return made;
  }
  made->order = ++order;
  if (s->last) s->last->next = made; else s->first = made;
  s->last = made;
  s->queued++;
  return made;
}

static void drain(Stream *s, uint64_t until);

static int ranges_of(Op *op, Range *out) {
  if (op->kind == KERNEL) { memcpy(out, op->ranges, sizeof op->ranges); return op->n; }
  if (op->kind == FREE) {
    Block *b = live(op->from, 1);
    out[0] = (Range){op->from, b ? b->size : 1, 1};
    return 1;
  }
  if (op->kind != COPY) return 0;
  out[0] = (Range){op->to, op->size, 1};
  out[1] = (Range){op->from, op->size, 0};
  return 2;
}

/* Older work that still waits in another stream and shares memory with this: nothing orders them. */
static void check_order(Op *op) {
  Range mine[32], theirs[32];
  int n = ranges_of(op, mine);
  for (Stream *s = streams; s; s = s->next)
    for (Op *other = s->first; other; other = other->next) {
      int m = other->order < op->order ? ranges_of(other, theirs) : 0;
      for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++)
          if ((mine[i].write || theirs[j].write) && mine[i].at < theirs[j].at + theirs[j].size && theirs[j].at < mine[i].at + mine[i].size)
            fault("two streams use the same memory and nothing orders them");
    }
}

static void run(Op *op) {
  check_order(op);
  switch (op->kind) {
  case COPY:
    if (touch(op->from, op->size, "a copy", -1) && touch(op->to, op->size, "a copy", -1))
      memcpy((void *)op->to, (void *)op->from, op->size);
    break;
  case KERNEL: {
    int fine = 1;
    for (int i = 0; i < op->n; i++) fine &= touch(op->ranges[i].at, op->ranges[i].size, "an engine", op->device);
    if (fine && op->kernel(op->data)) fault("an engine failed");
    break;
  }
  case ALLOCATE: {
    Block *b = live(op->to, 1);
    if (b) b->promised = 0;
    break;
  }
  case FREE: {
    Block *b = live(op->from, 1);
    if (b) { b->freed = 1; used -= b->size; if (b->pool) b->pool->kept += b->size; memset((void *)b->at, 0xff, b->size); }
    break;
  }
  case RECORD: break;
  case WAIT: if (op->target.stream) drain(op->target.stream, op->target.position);
  }
}

static void drain(Stream *s, uint64_t until) {
  while (s->first && s->done < until) {
    Op *op = s->first;
    s->first = op->next;
    if (!s->first) s->last = NULL;
    s->done++;
    run(op);
    free(op);
  }
}

static size_t kept(void) { size_t n = 0; for (Pool *p = pools; p; p = p->next) n += p->kept; return n; }

/* What pools do whenever somebody waits for the GPU. */
static void give_back(void) {
  for (Pool *p = pools; p; p = p->next)
    if (p->kept > p->threshold) { p->kept = 0; calls_returned++; }
}

/* Let a block belong to a context that is not the GPU's primary one. */
void sim_other_context(uintptr_t at) { Block *b = live(at, 1); if (b) b->elsewhere = 1; }

static int in_use(Block *b) {
  for (Stream *s = streams; s; s = s->next)
    for (Op *op = s->first; op; op = op->next) {
      if (op->kind == COPY && ((op->to >= b->at && op->to < b->at + b->size) || (op->from >= b->at && op->from < b->at + b->size))) return 1;
      for (int i = 0; op->kind == KERNEL && i < op->n; i++)
        if (op->ranges[i].at >= b->at && op->ranges[i].at < b->at + b->size) return 1;
    }
  return 0;
}

static int allocate(size_t size, int pinned, void *out) {
  sim_needs_context("memory is allocated");
  if (!pinned && used + kept() + size > total) return OUT_OF_MEMORY;
  Block *b = calloc(1, sizeof *b);
  b->at = (uintptr_t)aligned_alloc(256, (size + 255) / 256 * 256);
  memset((void *)b->at, 0xff, size);
  b->size = size;
  b->pinned = pinned;
  b->device = device_here() < 0 ? 0 : device_here();
  b->next = blocks;
  blocks = b;
  if (!pinned) used += size;
  *(uintptr_t *)out = b->at;
  return OK;
}

static int release(uintptr_t at) {
  sim_needs_context("memory is freed");
  Block *b = live(at, 1);
  if (!b || b->at != at) { fault("memory is freed twice, or was never allocated"); return INVALID_VALUE; }
  if (in_use(b)) fault("memory is freed while queued work uses it: freed in flight");
  b->freed = 1; /* the address stays reserved, so that whoever uses it again is found out */
  if (!b->pinned) used -= b->size;
  memset((void *)b->at, 0xff, b->size);
  return OK;
}

/* A capture in thread-local mode (1) forbids it to the thread that captures, any other mode to all. */
static __thread int exchanged; /* the thread's own mode: relaxed (2) is forbidden nothing */
static void not_in_capture(const char *what) {
  if (exchanged == 2) return;
  for (Stream *s = streams; s; s = s->next)
    if (s->capture && (s->mode != 1 || pthread_equal(s->capturer, pthread_self()))) {
      fault("memory is %s during a capture", what);
      s->broken = 1;
    }
}

#define LOCKED(type) MAY_FAIL; pthread_mutex_lock(&lock); type result = OK;
#define DONE pthread_mutex_unlock(&lock); return result;

int cuInit(unsigned flags) { MAY_FAIL; return devices ? OK : NO_DEVICE; }
int cuDriverGetVersion(int *v) { *v = version; return OK; }
int cuDeviceGetCount(int *n) { *n = devices; return OK; }
int cuDeviceGet(int *d, int ordinal) { *d = ordinal; return OK; }
int cuDeviceGetName(char *name, int n, int d) { snprintf(name, n, d ? "Simulated GPU of kind %d" : "Simulated GPU", d); return OK; }
int cuDeviceGetAttribute(int *v, int kind, int d) { *v = kind == 75 ? major : kind == 76 ? minor : kind == 38 ? 6 << 20 : 1; return OK; }
int cuDevicePrimaryCtxRetain(void **c, int d) { MAY_FAIL; *c = PRIMARY(d); return OK; }
int cuCtxSetCurrent(void *c) { MAY_FAIL; current = c; return OK; }
int cuCtxGetCurrent(void **c) { *c = current; return OK; }
int cuCtxGetDevice(int *d) { *d = device_here() < 0 ? 0 : device_here(); return OK; }
int cuMemGetInfo(size_t *f, size_t *t) { MAY_FAIL; *f = total - used - kept(); *t = total; return OK; }
int cuMemAlloc(uintptr_t *p, size_t size) {
  LOCKED(int)
  not_in_capture("allocated");
  result = allocate(size, 0, p);
  DONE
}
int cuMemFree(uintptr_t p) { LOCKED(int) not_in_capture("freed"); result = release(p); DONE }
int cuMemAllocHost(void **p, size_t size) { LOCKED(int) not_in_capture("allocated"); result = allocate(size, 1, p); DONE }
int cuMemFreeHost(void *p) { LOCKED(int) not_in_capture("freed"); result = release((uintptr_t)p); DONE }
static int allocate_in(Pool *pool, uintptr_t *p, size_t size, void *stream) {
  LOCKED(int)
  if (stream_of(stream)->capture) fault("memory is allocated during a capture");
  pool->kept -= pool->kept < size ? pool->kept : size;
  result = allocate(size, 0, p);
  if (result == OK) {
    live(*p, 1)->pool = pool;
    live(*p, 1)->promised = 1; /* other streams may use it once this one has come here */
    Op op = {.kind = ALLOCATE, .to = *p};
    push(stream, &op);
  }
  DONE
}
int cuMemAllocAsync(uintptr_t *p, size_t size, void *stream) { MAY_FAIL; return allocate_in(&standard, p, size, stream); }
int cuMemAllocFromPoolAsync(uintptr_t *p, size_t size, void *pool, void *stream) { MAY_FAIL; return allocate_in(pool, p, size, stream); }
int cuMemPoolCreate(void **out, const int *properties) { /* type, handles, kind of place, its number */
  LOCKED(int)
  Pool *p = calloc(1, sizeof *p);
  p->device = properties[3];
  p->next = pools;
  *out = pools = p;
  DONE
}
int cuMemPoolSetAttribute(void *pool, int kind, uint64_t *value) { MAY_FAIL; if (kind == 4) ((Pool *)pool)->threshold = *value; return OK; }
int cuMemPoolTrimTo(void *pool, size_t most) { LOCKED(int) Pool *p = pool; if (p->kept > most) p->kept = most; DONE }
int cuMemFreeAsync(uintptr_t p, void *stream) {
  LOCKED(int)
  Op op = {.kind = FREE, .from = p};
  push(stream, &op);
  DONE
}
static int copy(uintptr_t to, uintptr_t from, size_t size, void *stream) {
  LOCKED(int)
  calls_copy++;
  Block *target = live(to, size);
  if (target && target->pinned && !stream_of(stream)->capture)
    memset((void *)to, 0xff, size); /* whoever reads it before the copy is over reads NaN */
  Op op = {.kind = COPY, .to = to, .from = from, .size = size};
  push(stream, &op);
  DONE
}
int cuMemcpyHtoDAsync(uintptr_t to, void *from, size_t n, void *s) { MAY_FAIL; return copy(to, (uintptr_t)from, n, s); }
int cuMemcpyDtoHAsync(void *to, uintptr_t from, size_t n, void *s) { MAY_FAIL; return copy((uintptr_t)to, from, n, s); }
int cuMemcpyDtoDAsync(uintptr_t to, uintptr_t from, size_t n, void *s) { MAY_FAIL; return copy(to, from, n, s); }

int cuStreamCreate(void **out, unsigned flags) {
  LOCKED(int)
  sim_needs_context("a stream is made");
  Slot *slot = idle ? idle : calloc(1, sizeof *slot);
  idle = idle ? idle->next : NULL;
  slot->stream = new_stream();
  *out = slot;
  DONE
}
int cuStreamDestroy(void *handle) {
  LOCKED(int)
  sim_needs_context("a stream is given back");
  /* Returns at once: the work goes on, and the handle may return as another stream's. */
  stream_of(handle)->alive = 0;
  ((Slot *)handle)->next = idle;
  idle = handle;
  DONE
}
int cuStreamSynchronize(void *handle) {
  LOCKED(int)
  Stream *s = stream_of(handle);
  calls_sync++;
  if (s->capture) { fault("a stream is waited for during its capture"); result = CAPTURE_UNSUPPORTED; }
  else drain(s, UINT64_MAX);
  give_back();
  DONE
}
int cuStreamWaitEvent(void *handle, void *event, unsigned flags) {
  LOCKED(int)
  Op op = {.kind = WAIT, .target = *(Event *)event};
  push(handle, &op);
  DONE
}
int cuStreamGetCtx(void *handle, void **context) {
  LOCKED(int)
  if ((uintptr_t)handle > 2 && !((Slot *)handle)->stream->alive) result = INVALID_HANDLE;
  else {
    Stream *s = stream_of(handle);
    *context = s == &legacy ? current : PRIMARY(s->device);
  }
  DONE
}
int cuStreamIsCapturing(void *handle, int *status) { MAY_FAIL; *status = stream_of(handle)->capture ? 1 : 0; return OK; }
int cuCtxSynchronize(void) { LOCKED(int) for (Stream *s = streams; s; s = s->next) drain(s, UINT64_MAX); give_back(); DONE }

int cuEventCreate(void **out, unsigned flags) { MAY_FAIL; *out = calloc(1, sizeof(Event)); return OK; }
int cuEventDestroy(void *event) { return OK; /* kept: the driver, too, keeps it as long as it is waited for */ }
int cuEventRecord(void *event, void *handle) {
  LOCKED(int)
  Op op = {.kind = RECORD, .event = event};
  push(handle, &op);
  Stream *s = stream_of(handle);
  if (!s->capture) *(Event *)event = (Event){s, s->queued};
  DONE
}
int cuEventSynchronize(void *event) {
  LOCKED(int)
  Event *e = event;
  calls_sync++;
  if (e->stream) drain(e->stream, e->position);
  give_back();
  DONE
}
int cuEventQuery(void *event) {
  LOCKED(int)
  Event *e = event;
  if (e->stream && e->stream->done < e->position) result = NOT_READY;
  DONE
}
int cuEventElapsedTime(float *ms, void *a, void *b) { *ms = 1.0f; return OK; }

int cuThreadExchangeStreamCaptureMode(int *mode) { MAY_FAIL; int before = exchanged; exchanged = *mode; *mode = before; return OK; }
int cuStreamBeginCapture(void *handle, int mode) {
  LOCKED(int)
  Stream *s = stream_of(handle);
  s->capture = calloc(1, sizeof(Graph));
  s->mode = mode;
  s->broken = 0;
  s->capturer = pthread_self();
  DONE
}
int cuStreamEndCapture(void *handle, void **graph) {
  LOCKED(int)
  Stream *s = stream_of(handle);
  *graph = s->broken ? NULL : s->capture;
  result = s->broken ? CAPTURE_INVALIDATED : OK;
  s->capture = NULL;
  s->broken = 0;
  DONE
}
void sim_break_capture(void *stream) { stream_of(stream)->broken = 1; }
int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags) {
  LOCKED(int)
  Graph *g = calloc(1, sizeof *g);
  Op **end = &g->first;
  for (Op *op = ((Graph *)graph)->first; op; op = op->next, end = &(*end)->next) {
    *end = malloc(sizeof **end);
    **end = *op;
    (*end)->next = NULL;
  }
  *exec = g;
  DONE
}
int cuGraphDestroy(void *graph) { return OK; }
int cuGraphExecDestroy(void *exec) {
  LOCKED(int)
  for (Stream *s = streams; s; s = s->next)
    for (Op *op = s->first; op; op = op->next)
      if (op->executable == exec) fault("a graph is destroyed while it runs");
  ((Graph *)exec)->first = NULL;
  DONE
}
int cuGraphLaunch(void *exec, void *handle) {
  LOCKED(int)
  sim_needs_context("a graph is launched");
  if (!((Graph *)exec)->first) fault("a destroyed or empty graph is launched");
  for (Op *op = ((Graph *)exec)->first; op; op = op->next) {
    Block *target = op->kind == COPY ? live(op->to, op->size) : NULL;
    if (target && target->pinned) memset((void *)op->to, 0xff, op->size);
    Op *queued = push(handle, op);
    queued->executable = exec;
  }
  DONE
}
int cuPointerGetAttribute(void *out, int kind, uintptr_t p) {
  MAY_FAIL;
  Block *b = live(p, 1);
  if (kind == 9) *(int *)out = b ? b->device : 0;               /* device ordinal */
  else if (kind == 2) *(int *)out = b && b->pinned ? 1 : 2;     /* memory type: host, device */
  else if (kind == 1) *(void **)out = !b || b->pool ? NULL : b->elsewhere ? (void *)0x50 : PRIMARY(b->device); /* context; pools have none */
  else *(uint64_t *)out = 0;
  return b ? OK : INVALID_VALUE;
}
int cuPointerGetAttributes(unsigned n, int *kinds, void **out, uintptr_t p) {
  for (unsigned i = 0; i < n; i++) cuPointerGetAttribute(out[i], kinds[i], p);
  return OK;
}
int cuGetErrorName(int e, const char **s) {
  *s = e == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : e == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR";
  return OK;
}
int cuGetErrorString(int e, const char **s) { return cuGetErrorName(e, s); }

/* The one kernel of the runtime's own, which really draws. */
typedef struct { Place place; const Place *at; float *out; } Draw;
static int draw(void *data) {
  Draw *d = data;
  hcflow_latents(d->at ? d->at : &d->place, d->out);
  return OK;
}
int cuModuleLoadData(void **module, const void *image) {
  if (!strstr(image, ".version") || !strstr(image, "hcflow_latents_of")) return INVALID_VALUE;
  *module = (void *)0x20;
  return version < 13000 ? 222 : OK; /* of a driver older than the PTX */
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  int at = !strcmp(name, "hcflow_latents_at");
  if (!at && strcmp(name, "hcflow_latents_of")) return NOT_FOUND;
  *function = (void *)(at ? 0x30 : 0x40);
  return OK;
}
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
  LOCKED(int)
  Draw *d = calloc(1, sizeof *d);
  if ((uintptr_t)f == 0x30) d->at = *(const Place **)arguments[0];
  else d->place = *(const Place *)arguments[0];
  d->out = *(float **)arguments[1];
  const Place *p = d->at ? d->at : &d->place;
  size_t rows = (size_t)p->channels * p->height;
  if (gx * (size_t)bx < rows * (p->width / 4 + 2)) fault("too few threads for the latents");
  Op op = {.kind = KERNEL, .kernel = draw, .data = d, .n = 1};
  op.ranges[0] = (Range){(uintptr_t)d->out, 4 * rows * p->width, 1};
  if (d->at) op.ranges[op.n++] = (Range){(uintptr_t)d->at, sizeof(Place), 0};
  push(stream, &op);
  DONE
}

/* What stands for an engine's kernels: run by the stream, with what it reads and writes declared. */
int sim_kernel(void *stream, Kernel kernel, void *data, int n, Range *ranges) {
  LOCKED(int)
  sim_needs_context("an engine is run");
  Op op = {.kind = KERNEL, .kernel = kernel, .data = data, .n = n};
  memcpy(op.ranges, ranges, n * sizeof *ranges);
  push(stream, &op);
  DONE
}

int cuGetProcAddress_v2(const char *name, void **out, int v, uint64_t flags, int *status) {
  *out = !strncmp(name, "cu", 2) ? dlsym(self, name) : NULL;
  if (!*out && !strcmp(name, "cuGetProcAddress")) *out = (void *)cuGetProcAddress_v2;
  if (status) *status = *out ? 0 : 1;
  return *out ? OK : NOT_FOUND;
}
__attribute__((constructor)) static void start(void) {
  Dl_info info;
  legacy.next = NULL;
  legacy.alive = 1;
  streams = &legacy;
  dladdr((void *)cuInit, &info);
  self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
}
