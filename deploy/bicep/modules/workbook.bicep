// The workbook over the app's log lines and spans.
param name string
param location string
param tags object
param applicationInsightsId string

resource workbook 'Microsoft.Insights/workbooks@2022-04-01' = {
  name: guid(applicationInsightsId, 'integration-hub')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Integration Hub ${name}'
    category: 'workbook'
    version: 'Notebook/1.0'
    sourceId: applicationInsightsId
    serializedData: loadTextContent('../../dashboards/workbook.json')
  }
}
