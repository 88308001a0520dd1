#include "gpu/session.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace hcflow::gpu {

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

}  // namespace hcflow::gpu
