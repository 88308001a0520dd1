#include "gpu/session.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.hpp"
#include "gpu/automatic_precision.hpp"
#include "gpu/engine_files.hpp"
#include "system/file_trust.hpp"

namespace hcflow::gpu {
namespace {

namespace fs = std::filesystem;

/// The file for the kernels that TensorRT-RTX compiles at run time; empty: they are not kept.
fs::path runtime_cache(const std::string& cache, const EngineEntry& engine, const Machine& machine,
                       const Device& device) {
    if (cache.empty() || !ensure_private_folder(engine_folder(cache))) return {};
    return engine_folder(cache) / runtime_cache_name(engine, machine, device.name());
}

/// Engines of a bundle by their graph; graphs without any are left out.
using BundleEngines = std::map<const Graph*, std::vector<EngineFile>>;

/// The engines of a library, read once; those that cannot be read are left out.
BundleEngines library_engines(const Bundle& bundle, const Options& options,
                              const std::string& name) {
    BundleEngines found;
    for (const Precision precision : {Precision::fp32, Precision::fp16, Precision::fp8})
        for (const Graph* graph : bundle.preferred(precision, targets_of(name))) {
            try {
                for (EngineFile& each : engines_of(bundle, *graph, engine_folder(options.cache)))
                    if (each.entry.library == name) found[graph].push_back(std::move(each));
            } catch (const Error&) {  // told when an engine is opened
                continue;
            }
        }
    return found;
}

/// Those of them that fit a machine.
BundleEngines fitting(const BundleEngines& engines, const Machine& machine) {
    BundleEngines found;
    for (const auto& [graph, files] : engines)
        for (const EngineFile& each : files)
            if (!misfit(each.entry, machine)) found[graph].push_back(each);
    return found;
}

/// Throws Error (backend): no driver, no such GPU, or no library.
Machine this_machine(const Options& options, const std::string& name, LoadLibrary load) {
    const Device& device = Device::open(options.gpu);
    return {name, load()->version(), device.compute_capability()};
}

/// The engines of one graph that fit this machine, and what loads them.
struct Fitting {
    const Device& device;
    std::shared_ptr<Library> library;
    Machine machine;
    std::vector<EngineFile> engines;  // the one to prefer first
    std::string bundle;
    std::string cache;
};

/// Loads one of them, with others for shapes that it does not hold.
std::unique_ptr<EngineSession> open(const std::shared_ptr<const Fitting>& fitting,
                                    std::size_t index, EngineSession::Others others = {}) {
    const EngineFile& engine = fitting->engines.at(index);
    const Machine& machine = fitting->machine;
    const CurrentDevice current(fitting->device);
    return std::make_unique<EngineSession>(
        fitting->device,
        fitting->library->load(
            read_engine(engine), engine.path.u8string(),
            "compile one that fits: " +
                command(machine.library, fitting->bundle, machine.compute_capability),
            runtime_cache(fitting->cache, engine.entry, machine, fitting->device),
            engine.entry.version_compatible),
        engine.entry, fitting->bundle, std::move(others));
}

}  // namespace

class EngineSession::StreamLease {
  public:
    explicit StreamLease(EngineSession& session) : session_(session) {
        std::unique_lock<std::mutex> lock(session_.mutex_);
        session_.returned_.wait(lock, [&] { return !session_.idle_.empty(); });
        stream_ = session_.idle_.back();
        session_.idle_.pop_back();
    }
    StreamLease(const StreamLease&) = delete;
    StreamLease& operator=(const StreamLease&) = delete;
    ~StreamLease() {
        if (left_out_) return;
        {
            const std::lock_guard<std::mutex> lock(session_.mutex_);
            session_.idle_.push_back(stream_);
        }
        session_.returned_.notify_one();
    }
    [[nodiscard]] EngineStream& stream() const { return *stream_; }

    /// Frees the stream's memory and lets nobody have it again; false: it is the last one.
    bool leave_out() {
        stream_->clear();
        const std::lock_guard<std::mutex> lock(session_.mutex_);
        if (session_.usable_ == 1) return false;
        --session_.usable_;
        left_out_ = true;
        return true;
    }

  private:
    bool left_out_ = false;
    EngineSession& session_;
    EngineStream* stream_;
};

EngineSession::EngineSession(const Device& device, std::unique_ptr<Engine> engine,
                             EngineEntry entry, std::string bundle, Others others)
    : device_(device),
      engine_(std::move(engine)),
      entry_(std::move(entry)),
      bundle_(std::move(bundle)),
      others_(std::move(others)) {
    for (std::size_t i = 0; i < kStreams; ++i) {
        streams_.push_back(std::make_unique<EngineStream>(
            *engine_, [this](const Shapes& shapes) { return profile(shapes); }));
        idle_.push_back(streams_.back().get());
    }
}

EngineSession::~EngineSession() {
    try {
        const CurrentDevice current(device_);
        engine_->keep_runtime_cache();  // what was compiled beside runs
        streams_.clear();
        engine_.reset();
    } catch (const Error&) {  // the GPU cannot be used any more, and its memory is lost
    }
}

std::vector<Tensor> EngineSession::run(const std::vector<Feed>& feeds) {
    const Shapes shapes = shapes_of(feeds);
    check_inputs(shapes);
    if (EngineSession* next = other(shapes)) return next->run(feeds);
    const CurrentDevice current(device_);
    std::vector<Tensor> outputs;
    on_a_stream([&](EngineStream& stream) { outputs = stream.run(feeds); });
    return outputs;
}

void EngineSession::reserve(const std::vector<std::pair<std::string, Shape>>& inputs) {
    const Shapes shapes(inputs.begin(), inputs.end());
    check_inputs(shapes);
    if (EngineSession* next = other(shapes)) return next->reserve(inputs);
    const CurrentDevice current(device_);
    on_a_stream([&](EngineStream& stream) { stream.reserve(shapes); });
}

void EngineSession::on_a_stream(const std::function<void(EngineStream&)>& work) {
    for (bool last = false;;) {
        StreamLease lease(*this);
        try {
            work(lease.stream());
            return;
        } catch (const OutOfGpuMemory&) {
            if (last) throw;
            last = !lease.leave_out();
        }
    }
}

void EngineSession::enqueue(const std::vector<DeviceTensor>& inputs,
                            const std::vector<DeviceTensor>& outputs, void* stream) {
    Shapes shapes, given;
    Addresses addresses;
    const auto take = [&](const DeviceTensor& tensor, Shapes& into) {
        if (tensor.address == nullptr)
            throw_error(ErrorCode::parameter, "'", tensor.name,
                        "' is null: give its device address");
        if (!addresses.emplace(tensor.name, reinterpret_cast<Address>(tensor.address)).second)
            throw_error(ErrorCode::parameter, "'", tensor.name, "' is given twice");
        into[tensor.name] = tensor.shape;
    };
    for (const DeviceTensor& tensor : inputs) take(tensor, shapes);
    for (const DeviceTensor& tensor : outputs) take(tensor, given);
    check_inputs(shapes);
    if (EngineSession* next = other(shapes)) return next->enqueue(inputs, outputs, stream);
    const CurrentDevice current(device_);
    device_.check_stream(stream);
    for (const auto& [name, address] : addresses) device_.check_memory(name, address);
    on_a_stream([&](EngineStream& own) {
        check_outputs(own.output_shapes(shapes), given);
        own.enqueue(shapes, addresses, stream);
    });
}

void EngineSession::check_outputs(const Shapes& wanted, const Shapes& given) {
    for (const auto& [name, shape] : wanted)
        if (given.count(name) == 0)
            throw_error(ErrorCode::parameter, "output '", name, "' is missing: give ",
                        describe(shape));
    for (const auto& [name, shape] : given) {
        const auto found = wanted.find(name);
        if (found == wanted.end())
            throw_error(ErrorCode::parameter, "the engine has no output '", name, "'");
        if (found->second != shape)
            throw_error(ErrorCode::parameter, "output '", name, "' is ", describe(shape),
                        ": it must be ", describe(found->second));
    }
}

void EngineSession::check_inputs(const Shapes& shapes) const {
    const std::vector<std::string>& known = engine_->inputs();
    for (const std::string& name : known)
        if (shapes.count(name) == 0)
            throw_error(ErrorCode::parameter, "input '", name, "' is missing");
    for (const auto& [name, shape] : shapes)
        if (std::find(known.begin(), known.end(), name) == known.end())
            throw_error(ErrorCode::parameter, "the engine has no input '", name, "'");
}

EngineSession* EngineSession::other(const Shapes& shapes) {
    if (entry_.find_profile(shapes)) return nullptr;
    const auto& entries = others_.entries;
    const auto found = std::find_if(entries.begin(), entries.end(), [&](const EngineEntry& each) {
        return each.find_profile(shapes).has_value();
    });
    if (found == entries.end()) return nullptr;
    const auto index = static_cast<std::size_t>(found - entries.begin());
    const std::lock_guard<std::mutex> lock(opening_);
    std::unique_ptr<EngineSession>& session = opened_[index];
    if (!session) session = others_.open(index);
    return session.get();
}

std::size_t EngineSession::profile(const Shapes& shapes) const {
    if (const auto index = entry_.find_profile(shapes)) return *index;
    std::vector<std::string> given;
    for (const auto& [name, shape] : shapes) given.push_back(name + " " + describe(shape));
    std::vector<std::string> ranges = {describe_ranges(entry_)};
    for (const EngineEntry& each : others_.entries) ranges.push_back(describe_ranges(each));
    throw_error(ErrorCode::backend, join(given), " is outside the engine's shapes (",
                join(ranges, " or "),
                "): give tiles or smaller images, or compile an engine for larger ones: ",
                command(entry_.library, bundle_, ""), " --max HEIGHTxWIDTH --batch N");
}

std::unique_ptr<Session> open_engine(const OpenRequest& request, const std::string& name,
                                     LoadLibrary load) {
    const Device& device = Device::open(request.gpu);
    const CurrentDevice current(device);
    const std::shared_ptr<Library> library = load();
    const Machine machine{name, library->version(), device.compute_capability()};
    const auto engines = engines_of(request.bundle, request.graph, engine_folder(request.cache));
    const auto fits = std::make_shared<const Fitting>(
        Fitting{device, library, machine,
                fitting_engines(engines, machine, request.bundle, request.graph.tf32),
                request.bundle.folder().u8string(), request.cache});
    EngineSession::Others others;
    for (std::size_t i = 1; i < fits->engines.size(); ++i)
        others.entries.push_back(fits->engines[i].entry);
    others.open = [fits](std::size_t index) { return open(fits, index + 1); };
    return open(fits, 0, std::move(others));
}

Precision precision_of(const Bundle& bundle, const Options& options, const std::string& name,
                       LoadLibrary load) {
    if (options.precision != Precision::automatic) return options.precision;
    const BundleEngines all = library_engines(bundle, options, name);
    if (all.empty()) return Precision::fp32;  // needs neither driver nor library
    BundleEngines fits;
    try {
        fits = fitting(all, this_machine(options, name, load));
    } catch (const Error&) {  // told when an engine is opened
        fits.clear();
    }
    const BundleEngines& taken = fits.empty() ? all : fits;
    return automatic_precision(bundle, name, [&](const Graph& graph) {
        const auto found = taken.find(&graph);
        return found == taken.end() ? std::vector<EngineFile>{} : found->second;
    });
}

bool has_engines(const Bundle& bundle, const Options& options, const std::string& name,
                 LoadLibrary load) try {
    std::vector<std::pair<bool, std::vector<EngineFile>>> of_graphs;
    for (const Graph* graph : bundle.preferred(options.precision, targets_of(name)))
        of_graphs.emplace_back(graph->tf32,
                               engines_of(bundle, *graph, engine_folder(options.cache)));
    // Most bundles have no engines: then neither driver nor library is loaded.
    if (std::all_of(of_graphs.begin(), of_graphs.end(),
                    [](const auto& graph) { return graph.second.empty(); }))
        return false;
    const Machine machine = this_machine(options, name, load);
    for (const auto& [tf32, engines] : of_graphs)
        (void)fitting_engines(engines, machine, bundle, tf32);
    return true;
} catch (const Error&) {  // no driver, no library or no engine
    return false;
}

}  // namespace hcflow::gpu
