/* Loads a SavedModel through TensorFlow's C API, without Python, and prints one output of one of its signatures.

   load_saved_model DIR INPUT OUTPUT string FILE...        the bytes of each file, as one string tensor
   load_saved_model DIR INPUT OUTPUT float FILE D0 D1 ...  raw little-endian float32 of that shape

   INPUT and OUTPUT are tensors as signatures name them, OPERATION:INDEX. The output, float32, is printed one number a
   line. Exit code 1 and a line on stderr where TensorFlow refuses. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void stop_unless(int good, const char *what) {
  if (!good) {
    fprintf(stderr, "%s\n", what);
    exit(1);
  }
}

static void check(TF_Status *status) { stop_unless(TF_GetCode(status) == TF_OK, TF_Message(status)); }

static char *contents(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  stop_unless(file != NULL, path);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(*size + 1);
  stop_unless(fread(data, 1, *size, file) == *size, path);
  fclose(file);
  return data;
}

static TF_Tensor *strings(int count, char **paths) {
  int64_t shape[1] = {count};
  TF_Tensor *tensor = TF_AllocateTensor(TF_STRING, shape, 1, count * sizeof(TF_TString));
  TF_TString *texts = TF_TensorData(tensor);
  for (int i = 0; i < count; i++) {
    size_t size;
    char *data = contents(paths[i], &size);
    TF_StringInit(&texts[i]);
    TF_StringCopy(&texts[i], data, size);
    free(data);
  }
  return tensor;
}

static TF_Tensor *floats(const char *path, int rank, char **sides) {
  int64_t shape[8];
  size_t size, wanted = sizeof(float);
  stop_unless(rank <= 8, "too many sides");
  for (int i = 0; i < rank; i++) wanted *= shape[i] = atoll(sides[i]);
  char *data = contents(path, &size);
  stop_unless(size == wanted, "the file has another size than the shape");
  TF_Tensor *tensor = TF_AllocateTensor(TF_FLOAT, shape, rank, size);
  memcpy(TF_TensorData(tensor), data, size);
  free(data);
  return tensor;
}

static TF_Output output_of(TF_Graph *graph, const char *name) {
  char operation[512];
  const char *colon = strrchr(name, ':');
  stop_unless(colon != NULL && (size_t)(colon - name) < sizeof operation, "a tensor is named OPERATION:INDEX");
  memcpy(operation, name, colon - name);
  operation[colon - name] = 0;
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  stop_unless(output.oper != NULL, "no such operation");
  return output;
}

int main(int argc, char **argv) {
  stop_unless(argc >= 6, "usage: load_saved_model DIR INPUT OUTPUT string|float FILE...");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(status);

  TF_Output input = output_of(graph, argv[2]), output = output_of(graph, argv[3]);
  int of_strings = strcmp(argv[4], "string") == 0;
  TF_Tensor *given = of_strings ? strings(argc - 5, argv + 5) : floats(argv[5], argc - 6, argv + 6);
  TF_Tensor *found = NULL;
  TF_SessionRun(session, NULL, &input, &given, 1, &output, &found, 1, NULL, 0, NULL, status);
  check(status);

  stop_unless(TF_TensorType(found) == TF_FLOAT, "the output is not float32");
  const float *values = TF_TensorData(found);
  for (int64_t i = 0; i < TF_TensorElementCount(found); i++) printf("%.9g\n", values[i]);

  TF_DeleteTensor(given);
  TF_DeleteTensor(found);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
