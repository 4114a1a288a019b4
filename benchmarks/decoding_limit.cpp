// The native limit of `make bench-decode`: gunzip by zlib, then a DOM of every line by simdjson, and nothing else.
//
// Arguments are the files; each line on standard input says how many of them to read, as for the other contenders.

#include <simdjson.h>
#include <sys/resource.h>
#include <zlib.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

static double cpu() {
  rusage found;
  getrusage(RUSAGE_SELF, &found);
  return found.ru_utime.tv_sec + found.ru_stime.tv_sec + (found.ru_utime.tv_usec + found.ru_stime.tv_usec) / 1e6;
}

// The most memory that this process has had, in kB.
static long peak() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (long size; word == "VmHWM:" && status >> size) return size;
  return 0;
}

// Gunzips a file into a buffer, which keeps its size for the next one; returns how many bytes there are.
static size_t gunzip(const std::string& path, std::vector<char>& buffer) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> packed((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  z_stream stream{};
  if (inflateInit2(&stream, 31) != Z_OK) throw std::runtime_error("zlib");
  stream.next_in = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_in = packed.size();
  size_t size = 0;
  for (int state = Z_OK; state != Z_STREAM_END;) {
    if (buffer.size() < size + (1 << 20)) buffer.resize(2 * size + (1 << 22));
    const size_t room = buffer.size() - size - simdjson::SIMDJSON_PADDING;
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data() + size);
    stream.avail_out = room;
    state = inflate(&stream, Z_NO_FLUSH);
    if (state != Z_OK && state != Z_STREAM_END) throw std::runtime_error("the file is damaged: " + path);
    size += room - stream.avail_out;
  }
  inflateEnd(&stream);
  return size;
}

int main(int count, char** arguments) {
  const long bare = peak();
  simdjson::dom::parser parser;
  std::vector<char> buffer;
  for (int wanted; std::scanf("%d", &wanted) == 1;) {
    const double began = cpu();
    const auto start = std::chrono::steady_clock::now();
    long rows = 0;
    for (int place = 1; place <= wanted && place < count; ++place) {
      const size_t size = gunzip(arguments[place], buffer);
      simdjson::dom::document_stream lines;
      if (parser.parse_many(buffer.data(), size, 1 << 20).get(lines)) throw std::runtime_error("simdjson");
      for (auto line : lines) {
        if (line.error()) throw std::runtime_error("a line is no JSON");
        ++rows;
      }
    }
    const double took = cpu() - began;
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    std::printf("{\"cpu\": %f, \"wall\": %f, \"peak_mb\": %f, \"ready_mb\": 0, \"rows\": %ld}\n", took, wall.count(),
                (peak() - bare) / 1e3, rows);
    std::fflush(stdout);
  }
}
